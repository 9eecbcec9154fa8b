//! A server that starts under a policy which asks for its own log.

use super::vkey;
use crate::content::*;
use sealstone_spec::digest::Digest;
use sealstone_spec::key::{SecretKey, Signer as _};
use sealstone_spec::manifest::Descriptor;
use sealstone_spec::sigstore::{SigstoreBundle, referrer_manifest};
use sealstone_spec::statement::{Statement, Subject};
use sealstone_tests::registry::Setup;

fn key(seed: u8) -> SecretKey {
    SecretKey::ed25519_from_seed(&[seed; 32]).unwrap()
}

fn policy(version: u64, more: &str) -> String {
    let line = |seed: u8| key(seed).public_key().to_openssh();
    format!(
        "schema = \"sealstone-policy/v2\"\nversion = {version}\nexpires = \"2099-01-01T00:00:00Z\"\n[roots]\nthreshold = 1\nkeys = [\"{}\"]\n\
         [[identity]]\nname = \"alice\"\nroles = [\"release\"]\nkeys = [\"{}\"]\n\
         [[scope]]\nrepositories = [\"**\"]\n[[scope.require]]\nrule = \"signatures\"\n{more}",
        line(1),
        line(2),
    )
}

#[tokio::test(flavor = "multi_thread")]
async fn a_start_under_a_policy_that_asks_for_the_log_hides_nothing_that_is_in_it() {
    let mut registry = Setup {
        policy: policy(1, ""),
        access:
            "[[access]]\nrepositories = [\"m/x\"]\nwho = [\"user:reader\"]\nverbs = [\"pull\"]\n"
                .into(),
        ..Setup::default()
    }
    .start()
    .await
    .unwrap();
    let admin = registry.admin.clone();
    let reader = registry.account("reader", "user").await.unwrap();
    let image = push_image(&registry, &admin, "m/x", None, MIB).await;
    let statement = Statement::signature(vec![Subject::new("x", &image.digest)]);
    let bundle = SigstoreBundle::sign(&statement, &key(2)).unwrap();
    let bundle = bundle.to_bytes();
    push_blob(&registry, &admin, "m/x", &bundle).await;
    push_blob(&registry, &admin, "m/x", b"{}").await;
    let subject = Descriptor::new(MANIFEST, image.digest, image.manifest.len() as u64);
    let signature = referrer_manifest(
        &subject,
        &bundle,
        &statement.predicate_type,
        "2026-01-01T00:00:00Z",
    );
    let digest = Digest::sha256(&signature).to_string();
    put_manifest(&registry, &admin, "m/x", &digest, &signature)
        .await
        .expect(201);
    put_manifest(&registry, &admin, "m/x", "v1", &image.manifest)
        .await
        .expect(201);
    let log = vkey(&registry).await;
    registry.kill().unwrap();

    let rule = format!(
        "[[scope.require]]\nrule = \"log\"\n[[log]]\nvkey = \"{}\"\n",
        log.trim()
    );
    registry.setup().policy = policy(2, &rule);
    // Commands on a store that nobody has open have no log, and judge nothing. The file is that of the last start.
    let path = registry.directory().join("policy.toml");
    std::fs::write(path, policy(2, &rule)).unwrap();
    for command in ["gc", "verify-store"] {
        let done = registry.run(&[command]).unwrap();
        let problem = String::from_utf8_lossy(&done.stderr).into_owned();
        assert!(done.status.success(), "{command}: {problem}");
    }
    registry.start().await.unwrap();
    for _ in 0..2 {
        for path in ["manifests/v1".to_owned(), format!("blobs/{}", image.layer)] {
            get(&registry, &reader, &format!("/v2/m/x/{path}"))
                .await
                .expect(200);
        }
        // The verdict is the same once nothing is kept in memory.
        registry.crash().await.unwrap();
    }
}
