//! The rules by which differences that mean nothing are levelled out. Each has a version: whoever levels out
//! something else needs another number.

use super::comparison::Stabilizer;
use super::format::Format;

macro_rules! stabilizers {
    ($($constant:ident: $name:literal $version:literal $reason:literal;)*) => {$(
        pub(super) const $constant: Stabilizer =
            Stabilizer { name: $name, version: $version, reason: $reason };
    )*};
}

stabilizers! {
    ZIP: "zip-metadata" 1 "times, order, compression, owners and comments of members";
    TAR: "tar-metadata" 2 "times, owners, order and padding of members";
    GZIP: "gzip-header" 1 "time, name and compression of the stream";
    TENSORS: "tensor-container" 2 "order, alignment and padding of tensors";
    JSON: "json-format" 3 "order of keys, space, digits of equal numbers";
    TABLE: "table-format" 2 "quoting, line ends, digits of equal numbers and space around them, a byte order mark";
    ONNX: "onnx-producer" 2 "producer, documentation, and how initialisers are encoded";
    TORCH: "torch-zip" 3 "identity of the serialisation, names and times of members, byte order mark";
    LIGHTGBM: "lightgbm-sizes" 3 "sizes of trees in bytes, space, digits of equal numbers";
}

/// What reading `format` levels out.
pub(super) fn of(format: Format) -> Vec<Stabilizer> {
    match format {
        Format::Npz => vec![ZIP, TENSORS],
        Format::Torch => vec![TORCH, TENSORS],
        Format::Onnx => vec![ONNX],
        Format::Json | Format::Xgboost => vec![JSON],
        Format::JsonLines => vec![JSON],
        Format::Csv | Format::Tsv => vec![TABLE],
        Format::Lightgbm => vec![LIGHTGBM],
        _ => vec![TENSORS],
    }
}
