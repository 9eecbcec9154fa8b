//! A registry that lets anybody in, through the real client: no login, no credentials, and it works all the same.

use sealstone_tests::registry::{Setup, binary};
use std::fs;
use std::process::Command;

const ACCESS: &str = "\n[[access]]\nrepositories = [\"open/**\"]\nwho = [\"anonymous\"]\nverbs = [\"pull\", \"push\", \"tag\"]\n";

#[tokio::test(flavor = "multi_thread")]
async fn nobody_pushes_and_pulls_where_anybody_may_and_nowhere_else() {
    let setup = Setup {
        access: ACCESS.to_owned(),
        ..Setup::default()
    };
    let registry = setup.start().await.unwrap();
    let desk = tempfile::tempdir().unwrap();
    let content = vec![7; 2_500_000];
    fs::create_dir(desk.path().join("model")).unwrap();
    fs::write(desk.path().join("model/model.safetensors"), &content).unwrap();
    let run = |arguments: &[&str]| {
        let output = Command::new(binary("sealstone").unwrap())
            .args(arguments)
            .current_dir(desk.path())
            .env_clear()
            .env("PATH", std::env::var_os("PATH").unwrap())
            .env("HOME", desk.path())
            .output()
            .unwrap();
        let said = [output.stdout, output.stderr].concat();
        let said = String::from_utf8_lossy(&said).into_owned();
        (output.status.code(), said)
    };
    let (code, said) = run(&["pack", "model", "-o", "bundle:1"]);
    assert_eq!(code, Some(0), "{said}");
    let open = format!("{}/open/m:1", registry.address());
    let (code, said) = run(&["push", "oci:bundle:1", &open]);
    assert_eq!(code, Some(0), "{said}");
    let (code, said) = run(&["pull", &open, "--insecure-skip-signatures", "-o", "pulled"]);
    assert_eq!(code, Some(0), "{said}");
    assert!(fs::read(desk.path().join("pulled/model.safetensors")).unwrap() == content);

    let closed = format!("{}/closed/m:1", registry.address());
    let (code, said) = run(&["push", "oci:bundle:1", &closed]);
    assert_eq!(code, Some(6), "{said}");
}
