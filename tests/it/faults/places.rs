//! The place in a file that a replay names, in the words of the file's format: rows, bytes, members of archives.
//!
//! Tensors, JSON and traces have their places in the other files, where the project itself writes such.

use super::bench::{Bench, Due};

/// Lines at the end of the preparation that write a table, a file of bytes and an archive.
const FILES: &str = "
import zipfile

pathlib.Path(\"work/table.csv\").write_text(\"name,score\\na,0.25\\nb,0.5\\nc,0.75\\n\")
pathlib.Path(\"work/table.bin\").write_bytes(bytes(range(256)))
with zipfile.ZipFile(\"work/notes.zip\", \"w\") as archive:
    archive.writestr(zipfile.ZipInfo(\"first.txt\"), \"one\\ntwo\\n\")
    archive.writestr(zipfile.ZipInfo(\"second.txt\"), \"three\\nfour\\n\")
";

#[test]
fn each_format_has_its_own_words_for_a_place() {
    let Some(mut bench) = Bench::new() else {
        return;
    };
    bench.append("src/prepare.py", FILES);
    bench.edit(
        "recipe.toml",
        "\"work/test.npz\"]\ndevice",
        "\"work/test.npz\", \"work/table.csv\", \"work/table.bin\", \"work/notes.zip\"]\ndevice",
    );
    bench.record();
    let script = bench.read("src/prepare.py");
    bench.replay("nothing", &[], Due::reproduced());
    for (name, from, to, artifact, at) in [
        (
            "a number in a table",
            "nb,0.5",
            "nb,0.625",
            "work/table.csv",
            "row:2,column:score",
        ),
        (
            "a word in a table",
            "nc,0.75",
            "nd,0.75",
            "work/table.csv",
            "row:3,column:name",
        ),
        (
            "a byte",
            "bytes(range(256))",
            "bytes(range(200)) + bytes([0]) + bytes(range(201, 256))",
            "work/table.bin",
            "offset:200",
        ),
        (
            "a file that is shorter",
            "bytes(range(256))",
            "bytes(range(255))",
            "work/table.bin",
            "offset:255",
        ),
        (
            "a line in a member",
            "four",
            "five",
            "work/notes.zip",
            "member:second.txt!line:2:2",
        ),
        (
            "a member that is missing",
            "    archive.writestr(zipfile.ZipInfo(\"first.txt\"), \"one\\ntwo\\n\")\n",
            "",
            "work/notes.zip",
            "member:first.txt!file",
        ),
    ] {
        bench.edit("src/prepare.py", from, to);
        bench.replay(name, &[], Due::diverged("prepare", artifact, at, "code"));
        bench.write("src/prepare.py", &script);
    }
    bench.restore();
    bench.close();
}
