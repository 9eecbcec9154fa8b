//! A registry that lets anybody in, through the real client: no login, no credentials, and it works all the same.

use crate::client;
use sealstone_tests::registry::Setup;
use std::fs;

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
    let run = |arguments: &[&str]| client::run(&mut client::sealstone(desk.path(), arguments));
    run(&["pack", "model", "-o", "bundle:1"]).expect(0);
    let open = format!("{}/open/m:1", registry.address());
    run(&["push", "oci:bundle:1", &open]).expect(0);
    run(&["pull", &open, "--insecure-skip-signatures", "-o", "pulled"]).expect(0);
    assert!(fs::read(desk.path().join("pulled/model.safetensors")).unwrap() == content);

    let closed = format!("{}/closed/m:1", registry.address());
    run(&["push", "oci:bundle:1", &closed]).expect(6);
}
