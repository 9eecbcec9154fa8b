//! What consumers see before and after a release, its retraction, and a change of policy.

use super::*;

async fn hears_nothing(bench: &Bench, manifest: &Digest, blobs: &[Digest]) {
    for reference in [
        Reference::Digest(*manifest),
        Reference::parse("v1").unwrap(),
    ] {
        assert!(
            bench
                .registry
                .manifest(&consumer(), &reference)
                .await
                .is_err()
        );
    }
    for blob in blobs {
        assert!(matches!(
            bench.read(&consumer(), blob).await,
            Err(Error::BlobUnknown(_))
        ));
        assert!(bench.registry.stat_blob(&consumer(), blob).await.is_err());
        assert!(bench.registry.read_tree(&consumer(), blob).await.is_err());
    }
    assert_eq!(
        bench.registry.tags(&consumer(), None, 10).await.unwrap(),
        []
    );
}

#[tokio::test]
async fn a_release_is_seen_and_staging_is_not() {
    let bench = Bench::new().await;
    let (config, layer) = (b"{}".to_vec(), bytes_of(300_000));
    let blobs = [bench.put_blob(&config).await, bench.put_blob(&layer).await];
    let staged = bench.push(&[&config, &layer], "").await.unwrap();
    hears_nothing(&bench, &staged, &blobs).await;
    assert!(
        !bench
            .registry
            .manifest(&producer(), &Reference::Digest(staged))
            .await
            .unwrap()
            .released
    );
    assert!(bench.read(&producer(), &blobs[1]).await.unwrap() == layer);

    let released = bench.push(&[&config, &layer], "v1").await.unwrap();
    assert_eq!(released, staged);
    let served = bench
        .registry
        .manifest(&consumer(), &Reference::parse("v1").unwrap())
        .await
        .unwrap();
    assert!(served.released && served.digest == staged && Digest::sha256(&served.bytes) == staged);
    assert!(bench.read(&consumer(), &blobs[1]).await.unwrap() == layer);
    assert_eq!(bench.read(&consumer(), &blobs[0]).await.unwrap(), config);
    assert_eq!(
        bench
            .registry
            .tags(&consumer(), None, 10)
            .await
            .unwrap()
            .len(),
        1
    );

    let remover: Grant<Delete> = grant(REPO);
    assert!(matches!(
        bench.registry.delete_manifest(&remover, &staged).await,
        Err(Error::Held)
    ));
    bench
        .registry
        .delete_tag(&remover, &"v1".parse().unwrap(), TagCondition::Any)
        .await
        .unwrap();
    hears_nothing(&bench, &staged, &blobs).await;
    let gone = bench
        .registry
        .manifest(&producer(), &Reference::parse("v1").unwrap())
        .await;
    assert!(matches!(gone, Err(Error::TagRetracted { .. })));
    assert!(matches!(
        bench.push(&[&config, &layer], "v1").await,
        Err(Error::TagBurnt { .. })
    ));
}

#[tokio::test]
async fn a_policy_hides_and_shows() {
    let bench = Bench::new().await;
    let (config, layer) = (b"{}".to_vec(), bytes_of(300_000));
    let blobs = [bench.put_blob(&config).await, bench.put_blob(&layer).await];
    let release = bench.push(&[&config, &layer], "v1").await.unwrap();
    let key = sealstone_spec::key::SecretKey::ed25519_from_seed(&[1; 32]).unwrap();
    let key = sealstone_spec::key::Signer::public_key(&key).to_pem();
    let strict = format!(
        "[[identity]]\nname = \"alice\"\nkeys = [\"\"\"\n{key}\"\"\"]\n[[scope]]\nrepositories = [\"**\"]\n[[scope.require]]\nrule = \"signatures\"\nthreshold = 1\nidentities = [\"alice\"]\n"
    );
    assert_eq!(bench.adopt(&strict).await, 1);
    hears_nothing(&bench, &release, &blobs).await;
    assert!(matches!(
        bench.push(&[&config, &layer], "v2").await,
        Err(Error::Denied(_))
    ));
    assert_eq!(bench.adopt(&strict).await, 0);
    assert_eq!(bench.adopt("").await, 1);
    assert!(bench.read(&consumer(), &blobs[1]).await.unwrap() == layer);
    assert!(
        bench
            .registry
            .manifest(&consumer(), &Reference::parse("v1").unwrap())
            .await
            .unwrap()
            .released
    );
}
