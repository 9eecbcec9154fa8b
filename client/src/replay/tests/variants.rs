//! The laboratory's recipe and its training, with more tolerance and with faults that a variable switches on.

use super::laboratory::{RECIPE, TRAIN};

/// Of the weights only what they do is demanded, and the metrics are looked at from far off: the golden answers have to
/// notice.
pub(super) fn functional() -> String {
    let tolerated = "device = \"cpu\"\ntolerance = { \"model/weights.json\" = { class = \"functional\" }, \"trace.jsonl\" = { class = \"statistical\" } }\n[stage.evaluate]";
    RECIPE
        .replace("device = \"cpu\"\n[stage.evaluate]", tolerated)
        .replace("class = \"bit_exact\", seed", "class = \"numeric\", seed")
        .replace("replay = { abs = 1e-6 }", "replay = { abs = 100 }")
}

/// A training that a variable makes another one.
pub(super) fn spoilt() -> String {
    TRAIN.replace(
        "json.dump({\"w\": w, ",
        "w += float(os.environ.get('SPOILT', '0'))\njson.dump({\"w\": w, ",
    )
}

/// The recipe with rounding tolerated everywhere.
pub(super) fn tolerant() -> String {
    RECIPE.replace("device = \"cpu\"\n[stage.evaluate]", "device = \"cpu\"\ntolerance = { \"model/weights.json\" = { class = \"numeric\", abs = 1e-6, why = \"summation order\" }, \"trace.jsonl\" = { class = \"statistical\" } }\n[stage.evaluate]")
        .replace("class = \"bit_exact\", seed", "class = \"numeric\", seed").replace("abs = 1e-9", "abs = 1e-6")
}
