//! Bytes that are not what they should be: in the working directory, in a bundle, in what was said about it.

use super::bench::{Bench, Due, Ended};
use sealstone_spec::digest::Digest;
use serde_json::Value;
use std::fs;
use std::path::PathBuf;

/// The bundle of the project, signed by its builder, in a layout; and where its blobs lie.
struct Sealed<'a> {
    bench: &'a Bench,
    layout: PathBuf,
}

impl Sealed<'_> {
    fn make(bench: &Bench) -> Sealed<'_> {
        let packed = bench.sealstone(&["pack", "p", "-o", "bundle:1.0.0"], &[]);
        assert_eq!(packed.exit, 0, "{}", packed.said);
        let signed = bench.sealstone(&["sign", "oci:bundle:1.0.0", "--key", "builder.key"], &[]);
        assert_eq!(signed.exit, 0, "{}", signed.said);
        Sealed {
            bench,
            layout: bench.directory().join("bundle"),
        }
    }

    fn manifest(&self) -> Value {
        let shown = self.bench.sealstone(&["inspect", "oci:bundle:1.0.0"], &[]);
        let digest = shown.json["digest"].as_str().unwrap().to_owned();
        serde_json::from_slice(&fs::read(self.blob(&digest)).unwrap()).unwrap()
    }

    fn blob(&self, digest: &str) -> PathBuf {
        self.layout.join("blobs").join(digest.replace(':', "/"))
    }

    /// The blob that holds a file of the bundle.
    fn holder(&self, path: &str) -> PathBuf {
        let manifest = self.manifest();
        let mut layers = manifest["layers"].as_array().unwrap().iter();
        let layer = layers
            .find(|layer| {
                let annotations = layer["annotations"].as_object().unwrap();
                annotations.values().any(|value| value == path)
            })
            .unwrap_or_else(|| panic!("no layer holds {path}: {manifest}"));
        self.blob(layer["digest"].as_str().unwrap())
    }

    fn replay(&self, key: &str) -> Ended {
        self.bench
            .sealstone(&["replay", "oci:bundle:1.0.0", "--key", key], &[])
    }
}

#[test]
fn a_byte_flipped_in_the_working_directory_halts() {
    let Some(mut bench) = Bench::new() else {
        return;
    };
    in_the_working_directory(&mut bench);
    bench.close();
}

/// Bytes that the project brings; and those that a replay makes anew, of which it believes none.
pub(super) fn in_the_working_directory(bench: &mut Bench) {
    let subject = bench.subject;
    let data = subject.data;
    bench.fault(
        "a byte of the data",
        |bench| bench.flip(data),
        &[],
        Due::halted("input-digest", data).put_down_to("data"),
    );
    let ended = bench.fault(
        "two rows of the data change places",
        |bench| {
            let text = bench.read(data);
            let mut rows: Vec<&str> = text.lines().collect();
            rows.swap(subject.rows.0, subject.rows.1);
            bench.write(data, rows.join("\n") + "\n");
        },
        &[],
        Due::halted("input-digest", data).put_down_to("data"),
    );
    let told = ended.report["reasons"][0]["text"]
        .as_str()
        .unwrap_or_default();
    bench.check(
        "permuted rows are told from other rows",
        told.contains("order"),
        &ended,
    );
    bench.fault(
        "a digit of a stage's key in the lock",
        |bench| {
            let lock: Value = serde_json::from_str(&bench.read("recipe.lock")).unwrap();
            let key = lock["stages"][1]["key"].as_str().unwrap();
            let other = match key.ends_with('0') {
                true => "1",
                false => "0",
            };
            bench.edit(
                "recipe.lock",
                key,
                &format!("{}{other}", &key[..key.len() - 1]),
            );
        },
        &[],
        Due::halted("lock", "recipe.lock"),
    );
    bench.fault(
        "a digest in the lock, in every place",
        |bench| {
            let lock: Value = serde_json::from_str(&bench.read("recipe.lock")).unwrap();
            let outputs = lock["stages"][0]["outputs"].as_array().unwrap();
            let digest = outputs[0]["digest"]
                .as_str()
                .unwrap()
                .replace("sha256:", "");
            let forged = bench
                .read("recipe.lock")
                .replace(&digest, &format!("{:0>64}", "1"));
            bench.write("recipe.lock", forged);
        },
        &[],
        Due::halted("lock", "recipe.lock"),
    );
    bench.fault(
        "the end of the lock is missing",
        |bench| {
            let lock = bench.read("recipe.lock");
            bench.write("recipe.lock", &lock[..lock.len() - 40]);
        },
        &[],
        Due::halted("lock", "recipe.lock"),
    );
    bench.fault(
        "a byte of a wheel",
        |bench| {
            let wheels = fs::read_dir(bench.path("wheels")).unwrap();
            let mut names = wheels.map(|entry| entry.unwrap().path());
            bench.flip(
                names
                    .find(|path| path.to_string_lossy().contains(subject.package.1))
                    .unwrap(),
            );
        },
        &[],
        Due::halted("file-digest", "wheels"),
    );
    // A lock that holds together, and says that more was measured than was.
    bench.fault(
        "a forged metric in the lock",
        |bench| {
            let lock: Value = serde_json::from_str(&bench.read("recipe.lock")).unwrap();
            let measured = lock["metrics"]["accuracy"]["value"].as_str().unwrap();
            bench.edit(
                "recipe.lock",
                &format!("\"value\":\"{measured}\""),
                "\"value\":\"0.99\"",
            );
        },
        &[],
        Due::diverging()
            .put_down_to("unknown")
            .because("metric", "accuracy"),
    );
    // What was measured before is nobody's word: it is measured again.
    bench.fault(
        "the metrics on the disk say that it is perfect",
        |bench| bench.write("metrics.json", subject.perfect),
        &[],
        Due::reproduced(),
    );
    bench.fault(
        "a byte of the weights on the disk, which a replay trains anew",
        |bench| bench.flip(subject.weights),
        &["--scope", "full"],
        Due::reproduced(),
    );
}

#[test]
fn a_byte_flipped_in_a_bundle_halts_before_anything_runs() {
    let Some(mut bench) = Bench::new() else {
        return;
    };
    in_a_bundle(&mut bench);
    bench.close();
}

/// Bytes of a signed bundle, one file after another, and of what was signed.
pub(super) fn in_a_bundle(bench: &mut Bench) {
    let subject = bench.subject;
    let (mut ended, mut told) = (Vec::new(), Vec::new());
    {
        let sealed = Sealed::make(bench);
        ended.push(("untouched", sealed.replay("builder.pub"), Due::reproduced()));
        for path in [subject.data, subject.weights, "src/train.py", "recipe.lock"] {
            let blob = sealed.holder(path);
            let digest = |blob: &PathBuf| Digest::sha256(&fs::read(blob).unwrap());
            let expected = digest(&blob);
            bench.flip(&blob);
            let replayed = sealed.replay("builder.pub");
            let text = replayed.report["reasons"][0]["text"].to_string();
            let due = format!("expected {expected}, got {}", digest(&blob));
            told.push((path, text.contains(&due), replayed.clone()));
            ended.push((path, replayed, Due::halted("bundle-digest", path)));
            bench.flip(&blob);
        }
        let due = Due::halted("signature", "oci:bundle:1.0.0");
        ended.push(("somebody else's key", sealed.replay("other.pub"), due));
        // Whatever belongs to the signatures, one after another: none may be believed.
        let shown = bench.sealstone(&["inspect", "oci:bundle:1.0.0"], &[]);
        let referrers = shown.json["referrers"].as_array().unwrap().clone();
        assert!(!referrers.is_empty(), "{}", shown.said);
        let mut blobs = Vec::new();
        for referrer in &referrers {
            let digest = referrer["digest"]
                .as_str()
                .or(referrer["referrer"].as_str());
            let path = sealed.blob(digest.unwrap());
            let manifest: Value = serde_json::from_slice(&fs::read(path).unwrap()).unwrap();
            blobs.push(sealed.blob(manifest["layers"][0]["digest"].as_str().unwrap()));
        }
        for blob in &blobs {
            bench.flip(blob);
        }
        let flipped = sealed.replay("builder.pub");
        ended.push((
            "a byte of every signature",
            flipped,
            Due::halted("signature", "oci:bundle:1.0.0"),
        ));
        for blob in &blobs {
            bench.flip(blob);
        }
        ended.push(("mended", sealed.replay("builder.pub"), Due::reproduced()));
    }
    for (name, ended, due) in ended {
        bench.hold(name, ended, due);
    }
    for (path, holds, ended) in told {
        bench.check(&format!("{path}: both digests are told"), holds, &ended);
    }
    let incidents = fs::read_dir(bench.directory().join(".sealstone/incidents"));
    assert!(incidents.unwrap().count() >= 4, "a halt leaves a record");
}
