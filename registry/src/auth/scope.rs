//! Scopes of the Docker token flow: `repository:models/risk:pull,push` and `registry:catalog:*`.
//!
//! Owns: reading what a client asks for, and the `access` claim that says what it got.
//! Does not own: the decision (`authorize`).
//! Invariant: reading is total. What is not understood is dropped and hence not granted: the token
//! endpoint answers with the intersection, never with an error (clients ask for more than they need).
//!
//! The flow has words for pull, push and delete only. Who asks for `push` is therefore taken to ask
//! for tag, sign and approve as well, otherwise no OCI client could ever use them; whether they get
//! them is up to the rules.

use super::verb::{Verb, VerbSet};
use sealstone_spec::name::RepoName;
use serde::{Deserialize, Serialize};
use std::fmt;

/// Most scopes that one request can ask for. More are dropped.
pub const MAX_SCOPES: usize = 64;

/// One thing asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Scope {
    /// Verbs in a repository.
    Repository {
        /// Which.
        name: RepoName,
        /// What, with what it implies.
        verbs: VerbSet,
    },
    /// The list of repositories.
    Catalog,
}

impl Scope {
    /// Reads every `scope` parameter of a request. Each holds one or more scopes, parted by blanks;
    /// scopes of one repository are put together.
    pub fn parse_all<'t>(parameters: impl IntoIterator<Item = &'t str>) -> Vec<Scope> {
        let mut scopes: Vec<Scope> = Vec::new();
        let texts = parameters
            .into_iter()
            .flat_map(|parameter| parameter.split(' '))
            .filter(|text| !text.is_empty());
        for scope in texts.take(MAX_SCOPES).filter_map(Scope::parse) {
            match (
                &scope,
                scopes.iter_mut().find(|known| known.is_about(&scope)),
            ) {
                (_, None) => scopes.push(scope),
                (Scope::Repository { verbs: more, .. }, Some(Scope::Repository { verbs, .. })) => {
                    *verbs = verbs.union(*more);
                }
                (_, Some(_)) => {}
            }
        }
        scopes
    }

    /// Reads one scope; `None` if it is malformed or of a type that this registry does not have.
    pub fn parse(text: &str) -> Option<Scope> {
        let (kind, rest) = text.split_once(':')?;
        let (name, actions) = rest.rsplit_once(':')?;
        match kind {
            "repository" => Some(Scope::Repository {
                name: name.parse().ok()?,
                verbs: actions.split(',').fold(VerbSet::NONE, |verbs, action| {
                    verbs.union(verbs_of_action(action))
                }),
            }),
            "registry" if name == "catalog" => actions
                .split(',')
                .any(|action| action == "*")
                .then_some(Scope::Catalog),
            _ => None,
        }
    }

    /// The scope whose token lets `verb` through.
    pub fn for_verb(verb: Verb, repository: &RepoName) -> Scope {
        Scope::Repository {
            name: repository.clone(),
            verbs: match verb {
                Verb::Pull => Verb::Pull.into(),
                Verb::Push | Verb::Tag | Verb::Sign | Verb::Approve => verbs_of_action("push"),
                Verb::Delete => [Verb::Pull, Verb::Delete].into_iter().collect(),
                Verb::Admin => VerbSet::ALL,
            },
        }
    }

    fn is_about(&self, other: &Scope) -> bool {
        match (self, other) {
            (Scope::Repository { name, .. }, Scope::Repository { name: other, .. }) => {
                name == other
            }
            (Scope::Catalog, Scope::Catalog) => true,
            _ => false,
        }
    }
}

/// What asking for an action means. Unknown actions mean nothing.
fn verbs_of_action(action: &str) -> VerbSet {
    match action {
        "*" => VerbSet::ALL,
        "push" => [Verb::Pull, Verb::Push, Verb::Tag, Verb::Sign, Verb::Approve]
            .into_iter()
            .collect(),
        other => Verb::named(other).map_or(VerbSet::NONE, |verb| VerbSet::from(verb).closed()),
    }
}

/// As it stands in a challenge: in the words of the Docker flow where those say it all, since
/// clients compare and merge them.
impl fmt::Display for Scope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Scope::Catalog => f.write_str("registry:catalog:*"),
            Scope::Repository { name, verbs } if *verbs == VerbSet::ALL => {
                write!(f, "repository:{name}:*")
            }
            Scope::Repository { name, verbs } => {
                let pushes = verbs.contains(Verb::Push);
                let covered = if pushes {
                    verbs_of_action("push")
                } else {
                    VerbSet::NONE
                };
                let actions: Vec<&str> = verbs
                    .iter()
                    .filter(|verb| {
                        matches!(verb, Verb::Pull | Verb::Push) || !covered.contains(*verb)
                    })
                    .map(Verb::as_str)
                    .collect();
                write!(f, "repository:{name}:{}", actions.join(","))
            }
        }
    }
}

/// One entry of a session's `access` claim, in the shape of the Docker token specification.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Access {
    #[serde(rename = "type")]
    kind: AccessKind,
    name: String,
    actions: Vec<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
enum AccessKind {
    Repository,
    Registry,
}

impl Access {
    /// These verbs in this repository.
    pub fn repository(name: RepoName, verbs: VerbSet) -> Access {
        Access {
            kind: AccessKind::Repository,
            name: name.to_string(),
            actions: verbs.iter().map(|verb| verb.to_string()).collect(),
        }
    }

    /// The list of repositories.
    pub fn catalog() -> Access {
        Access {
            kind: AccessKind::Registry,
            name: "catalog".into(),
            actions: vec!["*".into()],
        }
    }

    /// The verbs that it gives in `repository`: exactly those listed, nothing implied.
    pub fn verbs(&self, repository: &RepoName) -> VerbSet {
        if self.kind != AccessKind::Repository || self.name != repository.as_str() {
            return VerbSet::NONE;
        }
        self.actions
            .iter()
            .filter_map(|action| Verb::named(action))
            .collect()
    }

    /// Whether it is for the list of repositories.
    pub fn is_catalog(&self) -> bool {
        self.kind == AccessKind::Registry && self.name == "catalog"
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use proptest::prelude::*;

    fn verbs(text: &str) -> Option<VerbSet> {
        match Scope::parse(text)? {
            Scope::Repository { verbs, .. } => Some(verbs),
            Scope::Catalog => None,
        }
    }

    #[test]
    fn scopes_are_read() {
        use Verb::{Approve, Delete, Pull, Push, Sign, Tag};
        let set = |verbs: &[Verb]| verbs.iter().copied().collect::<VerbSet>();
        let pushing = set(&[Pull, Push, Tag, Sign, Approve]);
        for (text, expected) in [
            ("repository:a/b/c:pull", Some(set(&[Pull]))),
            ("repository:a:pull,push", Some(pushing)),
            ("repository:a:push", Some(pushing)),
            ("repository:a:*", Some(VerbSet::ALL)),
            ("repository:a:delete", Some(set(&[Delete]))),
            ("repository:a:tag,frob,PULL", Some(set(&[Tag]))),
            ("repository:a:", Some(VerbSet::NONE)),
            ("repository:a", None),
            ("repository::pull", None),
            ("repository:A:pull", None),
            ("repository:host:5000/a:pull", None),
            ("repository(plugin):a:pull", None),
            ("", None),
        ] {
            assert_eq!(verbs(text), expected, "{text}");
        }
        assert_eq!(Scope::parse("registry:catalog:*"), Some(Scope::Catalog));
        assert_eq!(Scope::parse("registry:catalog:pull"), None);
        assert_eq!(Scope::parse("registry:other:*"), None);
    }

    #[test]
    fn repeated_and_joined_scopes_are_put_together() {
        let scopes = Scope::parse_all([
            "repository:a:pull  repository:b:pull",
            "repository:a:delete registry:catalog:* nonsense registry:catalog:*",
        ]);
        let texts: Vec<String> = scopes.iter().map(Scope::to_string).collect();
        assert_eq!(
            texts,
            [
                "repository:a:pull,delete",
                "repository:b:pull",
                "registry:catalog:*"
            ]
        );
        let many = "repository:a:pull ".repeat(10_000) + "repository:b:pull";
        assert_eq!(Scope::parse_all([many.as_str()]).len(), 1);
        assert!(Scope::parse_all([]).is_empty());
    }

    #[test]
    fn the_scope_of_a_challenge_lets_its_verb_through() {
        let name: RepoName = "a/b".parse().unwrap();
        for verb in Verb::ALL {
            let text = Scope::for_verb(verb, &name).to_string();
            assert!(verbs(&text).unwrap().contains(verb), "{verb}: {text}");
        }
        assert_eq!(
            Scope::for_verb(Verb::Tag, &name).to_string(),
            "repository:a/b:pull,push"
        );
        assert_eq!(
            Scope::for_verb(Verb::Pull, &name).to_string(),
            "repository:a/b:pull"
        );
    }

    #[test]
    fn access_is_for_its_own_repository_and_lists_what_it_gives() {
        let name: RepoName = "a".parse().unwrap();
        let access = Access::repository(name.clone(), Verb::Push.into());
        assert_eq!(access.verbs(&name), Verb::Push.into());
        assert!(access.verbs(&"a/b".parse().unwrap()).is_empty());
        assert!(!access.is_catalog());
        assert!(
            Access::catalog()
                .verbs(&"catalog".parse().unwrap())
                .is_empty()
        );
    }

    proptest! {
        #[test]
        fn reading_never_panics(texts in prop::collection::vec(".{0,60}", 0..4)) {
            Scope::parse_all(texts.iter().map(String::as_str));
        }

        #[test]
        fn printing_and_reading_agree(
            name in "[a-z0-9]{1,5}(/[a-z0-9]{1,5}){0,2}",
            picks in prop::collection::vec(0usize..7, 0..7),
        ) {
            let verbs: VerbSet = picks.iter().map(|pick| Verb::ALL[*pick]).collect();
            let scope = Scope::Repository { name: name.parse().unwrap(), verbs };
            let read = super::tests::verbs(&scope.to_string()).unwrap();
            prop_assert_eq!(read.intersection(verbs), verbs);
        }
    }
}
