//! Random sequences of operations: after each, the store's answer and everything that can be seen of it
//! are compared with the model's.

#![allow(clippy::unwrap_used)]

use super::collection::{rules, sweep};
use super::kit::*;
use super::model::{Model, WantedTag};
use crate::metadata::{
    BlobPlace, Collected, NewTag, PutManifest, Refusal, TagClass, TagCondition, Usage,
};
use proptest::prelude::*;
use proptest::sample::{Index, select};
use proptest::test_runner::{Config, TestRunner};
use sealstone_spec::digest::Digest;
use sealstone_spec::media;
use sealstone_spec::name::{RepoName, Tag};
use std::collections::BTreeMap;

const REPOS: [&str; 2] = ["a/one", "a/two"];
const TAGS: [&str; 4] = ["v1", "v2", "latest", "x"];
/// How many lists of evidence there are: of signatures, and of referrers, of each of the first manifests of the pool.
const LISTS: usize = 4;
const BLOBS: usize = 4;

#[derive(Clone, Debug)]
enum Op {
    PutBlob(usize, usize),
    Mount(usize, usize),
    Unlink(usize, usize),
    Quarantine(usize),
    Put {
        repo: usize,
        manifest: Index,
        tags: Vec<(usize, TagClass, Condition, bool)>,
    },
    DeleteManifest(usize, Index, TagClass),
    DeleteTag(usize, usize, TagClass, Condition),
    Show(usize, usize, Index, bool),
    Collect,
}

#[derive(Clone, Copy, Debug)]
enum Condition {
    Any,
    Absent,
    Present,
    Names(Index),
}

/// Manifests, each of which may name those before it.
type Pool = Vec<(Digest, Shape)>;

fn pool() -> impl Strategy<Value = Pool> {
    let one = (
        any::<bool>(),
        prop::collection::vec(any::<Index>(), 1..4),
        prop::option::of((any::<Index>(), any::<bool>())),
        prop::option::of(select(vec!["alice", "bob"])),
    );
    prop::collection::vec(one, 4..10).prop_map(|wanted| {
        let mut pool: Pool = Vec::new();
        for (number, (is_index, named, subject, signer)) in wanted.into_iter().enumerate() {
            let mut shape = Shape::default().marked(number);
            shape.signature = signer.map(str::to_owned);
            for name in named {
                let (list, digest) = match is_index && !pool.is_empty() {
                    true => (&mut shape.children, pool[name.index(pool.len())].0),
                    false => (&mut shape.blobs, blob_digest(name.index(BLOBS))),
                };
                if !list.contains(&digest) {
                    list.push(digest);
                }
            }
            if let Some((subject, is_statement)) = subject.filter(|_| !pool.is_empty()) {
                shape.subject = Some(pool[subject.index(pool.len())].0);
                if is_statement {
                    shape = shape.of_type(media::SIGSTORE_BUNDLE_V03);
                }
            }
            pool.push((*shape.build().digest(), shape));
        }
        pool
    })
}

fn content(blob: usize) -> Vec<u8> {
    format!("blob {blob}").into_bytes()
}

fn blob_digest(blob: usize) -> Digest {
    Digest::sha256(&content(blob))
}

fn op() -> impl Strategy<Value = Op> {
    let (repo, blob, tag) = (0..REPOS.len(), 0..BLOBS, 0..TAGS.len() + LISTS);
    let class = select(vec![
        TagClass::Immutable,
        TagClass::Mutable,
        TagClass::Mutable,
        TagClass::EvidenceList,
    ]);
    let rule = select(vec![
        TagClass::Immutable,
        TagClass::Mutable,
        TagClass::Mutable,
    ]);
    let condition = prop_oneof![
        6 => Just(Condition::Any),
        1 => Just(Condition::Absent),
        1 => Just(Condition::Present),
        1 => any::<Index>().prop_map(Condition::Names),
    ]
    .boxed();
    let wanted = (
        tag.clone(),
        class,
        condition.clone(),
        prop::bool::weighted(0.8),
    );
    prop_oneof![
        6 => (repo.clone(), blob.clone()).prop_map(|(repo, blob)| Op::PutBlob(repo, blob)),
        1 => (repo.clone(), blob.clone()).prop_map(|(from, blob)| Op::Mount(from, blob)),
        1 => (repo.clone(), blob.clone()).prop_map(|(repo, blob)| Op::Unlink(repo, blob)),
        1 => blob.prop_map(Op::Quarantine),
        16 => (repo.clone(), any::<Index>(), prop::collection::vec(wanted, 0..3))
            .prop_map(|(repo, manifest, tags)| Op::Put { repo, manifest, tags }),
        3 => (repo.clone(), any::<Index>(), rule.clone()).prop_map(|(repo, manifest, rule)| Op::DeleteManifest(repo, manifest, rule)),
        3 => (repo.clone(), tag.clone(), rule, condition).prop_map(|(repo, tag, rule, condition)| Op::DeleteTag(repo, tag, rule, condition)),
        2 => (repo, tag, any::<Index>(), any::<bool>()).prop_map(|(repo, tag, digest, visible)| Op::Show(repo, tag, digest, visible)),
        1 => Just(Op::Collect),
    ]
}

/// Runs `cases` random sequences on stores that `make` makes, and on the model.
pub(crate) fn compare(make: fn() -> Fixture, cases: u32) {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    let config = Config {
        cases,
        failure_persistence: None,
        max_shrink_iters: 400,
        ..Config::default()
    };
    let sequences = (pool(), prop::collection::vec(op(), 1..60));
    let result = TestRunner::new(config).run(&sequences, |(pool, ops)| {
        let fixture = make();
        runtime.block_on(async {
            let mut run = Run {
                store: &*fixture.store,
                model: Model::default(),
                pool: &pool,
                sizes: sizes(&pool),
            };
            use_default_policy(run.store).await;
            for (number, op) in ops.iter().enumerate() {
                run.step(op).await;
                run.compare_state(&format!("operation {number}, {op:?}"))
                    .await;
            }
        });
        Ok(())
    });
    if let Err(error) = result {
        panic!("{error}");
    }
}

struct Run<'a> {
    store: &'a dyn Store,
    model: Model,
    pool: &'a Pool,
    sizes: BTreeMap<Digest, u64>,
}

/// Bytes of everything that there can be.
fn sizes(pool: &Pool) -> BTreeMap<Digest, u64> {
    let blobs = (0..BLOBS).map(|blob| (blob_digest(blob), content(blob).len() as u64));
    let manifests = pool
        .iter()
        .map(|(digest, shape)| (*digest, shape.build().size()));
    blobs.chain(manifests).collect()
}

/// Which manifest closes a circle may differ; that it does may not.
fn blur<T>(outcome: Result<T, Refusal>) -> Result<T, Refusal> {
    outcome.map_err(|refusal| match refusal {
        Refusal::Circular { .. } => Refusal::Circular {
            through: Digest::sha256(b""),
        },
        other => other,
    })
}

impl Run<'_> {
    fn pick(&self, index: &Index) -> &(Digest, Shape) {
        &self.pool[index.index(self.pool.len())]
    }

    fn tag(&self, number: usize) -> Tag {
        match number.checked_sub(TAGS.len()) {
            None => tag(TAGS[number]),
            Some(list) => {
                let suffix = [".sig", ""][list % 2];
                tag(&format!("sha256-{}{suffix}", self.pool[list / 2].0.hex()))
            }
        }
    }

    /// What the name of a tag says goes before the rule.
    fn class(&self, number: usize, rule: TagClass) -> TagClass {
        match number < TAGS.len() {
            true => rule,
            false => TagClass::EvidenceList,
        }
    }

    fn condition(&self, condition: &Condition) -> TagCondition {
        match condition {
            Condition::Any => TagCondition::Any,
            Condition::Absent => TagCondition::Absent,
            Condition::Present => TagCondition::Present,
            Condition::Names(index) => TagCondition::Names(self.pick(index).0),
        }
    }

    async fn step(&mut self, op: &Op) {
        let store = self.store;
        match op {
            Op::PutBlob(name, blob) => {
                let name = repo(REPOS[*name]);
                put_inline(store, &name, &content(*blob)).await;
                self.model.put_blob(&name, blob_digest(*blob));
            }
            Op::Mount(from, blob) => {
                let (from, to, digest) = (
                    repo(REPOS[*from]),
                    repo(REPOS[1 - from]),
                    blob_digest(*blob),
                );
                let given = mount(store, &from, &to, &digest).await;
                assert_eq!(given, self.model.mount(&from, &to, digest));
            }
            Op::Unlink(name, blob) => {
                let (name, digest) = (repo(REPOS[*name]), blob_digest(*blob));
                assert_eq!(
                    store.unlink_blob(&name, &digest, NOW).await.unwrap(),
                    self.model.unlink(&name, &digest)
                );
            }
            Op::Quarantine(blob) => {
                store
                    .quarantine_blob(&blob_digest(*blob), &BlobPlace::Inline, "damaged", NOW)
                    .await
                    .unwrap();
                self.model.quarantine(blob_digest(*blob));
            }
            Op::Put {
                repo: name,
                manifest,
                tags,
            } => {
                let (digest, shape) = self.pick(manifest).clone();
                let name = repo(REPOS[*name]);
                let tags: Vec<WantedTag> = tags
                    .iter()
                    .map(|(name, class, condition, visible)| WantedTag {
                        tag: self.tag(*name),
                        class: self.class(*name, *class),
                        condition: self.condition(condition),
                        visible: *visible,
                    })
                    .collect();
                let new = |wanted: &WantedTag| NewTag {
                    tag: wanted.tag.clone(),
                    class: wanted.class,
                    condition: wanted.condition,
                    visible: wanted.visible,
                };
                let put = put(&name, &shape.build(), TagClass::Immutable, &[]);
                let put = PutManifest {
                    tags: tags.iter().map(new).collect(),
                    ..put
                };
                let put = judged_now(store, put).await;
                let expected = self.model.put(&name, digest, &shape, &tags);
                assert_eq!(blur(store.put_manifest(put).await.unwrap()), blur(expected));
            }
            Op::DeleteManifest(name, manifest, rule) => {
                let (name, digest) = (repo(REPOS[*name]), self.pick(manifest).0);
                assert_eq!(
                    delete_manifest_where(store, &name, &digest, *rule).await,
                    self.model.delete_manifest(&name, &digest, *rule)
                );
            }
            Op::DeleteTag(name, tagged, rule, condition) => {
                let class = self.class(*tagged, *rule);
                let (name, tagged, condition) = (
                    repo(REPOS[*name]),
                    self.tag(*tagged),
                    self.condition(condition),
                );
                let deleted = store
                    .delete_tag(&name, &tagged, class, condition, "user:tester", NOW)
                    .await
                    .unwrap();
                let expected = self.model.delete_tag(&name, &tagged, class, condition);
                assert_eq!(deleted, expected);
            }
            Op::Show(name, tagged, digest, visible) => {
                let (name, tagged) = (repo(REPOS[*name]), self.tag(*tagged));
                // Mostly what the tag names, or nothing would ever change.
                let other = self.pick(digest).0;
                let digest = self
                    .model
                    .repo(&name)
                    .tags
                    .get(&tagged)
                    .map_or(other, |tag| tag.digest);
                let changed = show(store, &name, tagged.as_str(), digest, *visible).await;
                assert_eq!(changed, self.model.show(&name, &tagged, &digest, *visible));
            }
            Op::Collect => {
                while sweep(store, rules(LATER)).await != Collected::default() {}
                self.model.collect();
            }
        }
    }

    async fn compare_state(&mut self, after: &str) {
        for name in REPOS.map(repo) {
            self.compare_manifests(&name, after).await;
            self.compare_tags(&name, after).await;
            let model = self.model.repo(&name).clone();
            let visible = model.visible();
            for digest in (0..BLOBS).map(blob_digest) {
                let found = self.store.blob(&name, &digest).await.unwrap();
                assert_eq!(
                    found.is_some(),
                    model.blobs.contains(&digest),
                    "blob {digest} of {name} after {after}"
                );
                let Some(found) = found else { continue };
                let seen = visible
                    .iter()
                    .any(|manifest| model.manifests[manifest].blobs.contains(&digest));
                assert_eq!(found.visible, seen, "blob {digest} of {name} after {after}");
                assert_eq!(
                    found.quarantined.is_some(),
                    self.model.damaged.contains(&digest),
                    "after {after}"
                );
                assert!(
                    self.store.inline_content(&digest).await.unwrap().is_some(),
                    "after {after}"
                );
            }
            assert_eq!(
                self.store.has_repository(&name).await.unwrap(),
                model.used,
                "after {after}"
            );
        }
        assert_eq!(
            self.store.events(0, usize::MAX).await.unwrap().len(),
            self.model.events,
            "after {after}"
        );
        self.compare_usage(after).await;
    }

    /// What each namespace holds is what lies in its repositories, counted anew.
    async fn compare_usage(&mut self, after: &str) {
        for namespace in ["", "a", REPOS[0], REPOS[1], "a/t", "b"] {
            let mut expected = Usage::default();
            for name in REPOS {
                let below = namespace.is_empty()
                    || name == namespace
                    || name.starts_with(&format!("{namespace}/"));
                if !below {
                    continue;
                }
                let held = self.model.repo(&repo(name)).clone();
                expected.blobs += held.blobs.len() as u64;
                expected.manifests += held.manifests.len() as u64;
                let all = held.blobs.iter().chain(held.manifests.keys());
                expected.bytes += all.map(|digest| self.sizes[digest]).sum::<u64>();
            }
            let found = self.store.usage(namespace).await.unwrap();
            assert_eq!(found, expected, "usage of \"{namespace}\" after {after}");
        }
    }

    async fn compare_manifests(&mut self, name: &RepoName, after: &str) {
        let model = self.model.repo(name).clone();
        let (visible, held) = (model.visible(), model.held());
        for (digest, _) in self.pool {
            let row = self.store.manifest(name, digest).await.unwrap();
            let found = row.map(|row| (row.visible > 0, row.held > 0, row.tags, row.parents));
            let expected = model.manifests.get(digest).map(|_| {
                let tags = model
                    .live()
                    .filter(|(_, tag)| tag.digest == *digest)
                    .count() as u64;
                (
                    visible.contains(digest),
                    held.contains(digest),
                    tags,
                    model.parents(digest).len() as u64,
                )
            });
            assert_eq!(found, expected, "manifest {digest} of {name} after {after}");
            let referrers = self
                .store
                .referrers(name, digest, None, None, usize::MAX)
                .await
                .unwrap();
            let referrers: Vec<Digest> = referrers
                .referrers
                .into_iter()
                .map(|referrer| referrer.digest)
                .collect();
            assert_eq!(
                referrers,
                model.referrers(digest),
                "referrers of {digest} in {name} after {after}"
            );
        }
    }

    async fn compare_tags(&mut self, name: &RepoName, after: &str) {
        let model = self.model.repo(name).clone();
        for only_visible in [false, true] {
            let listed = self
                .store
                .tags(name, None, usize::MAX, only_visible)
                .await
                .unwrap();
            let shown = model.live().filter(|(_, tag)| tag.visible || !only_visible);
            assert_eq!(
                listed,
                shown.map(|(tag, _)| tag.clone()).collect::<Vec<Tag>>(),
                "after {after}"
            );
        }
        for tag in (0..TAGS.len() + LISTS).map(|number| self.tag(number)) {
            let found = self.store.tag(name, &tag).await.unwrap();
            let found = found.map(|row| (row.digest, row.tombstone, row.immutable, row.visible));
            let expected = model
                .tags
                .get(&tag)
                .map(|tag| (tag.digest, tag.tombstone, tag.immutable, tag.visible));
            assert_eq!(found, expected, "tag {tag} of {name} after {after}");
        }
    }
}
