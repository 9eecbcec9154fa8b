//! Lint: what a policy's author probably did not mean, though it can be read.

use super::rule::{Rule, not_waivable};
use super::scope::{Scope, TagRule, TrustedLog};
use super::{Edition, Policy, PolicyError, Time};
use serde::Serialize;
use std::collections::BTreeSet;

/// Days before its end from which a policy is said to expire soon.
const SOON_DAYS: u32 = 30;

/// Something to look at.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[non_exhaustive]
pub struct Finding {
    /// Where in the document.
    pub place: String,
    /// What was found, and what to do.
    pub text: String,
}

impl Policy {
    /// Looks for what is probably not meant; an empty list means that nothing was found.
    pub fn lint(&self, now: Time) -> Vec<Finding> {
        let mut findings = Vec::new();
        let mut say = |place: &str, text: String| {
            findings.push(Finding {
                place: place.to_owned(),
                text,
            });
        };
        if self.edition() == Edition::V1 {
            say(
                "schema",
                "version 1 has no roles, no expiry and no signature of its own: anybody who can change the file changes the policy; write sealstone-policy/v2".to_owned(),
            );
        }
        self.lint_validity(now, &mut say);
        self.lint_people(&mut say);
        self.lint_scopes(&mut say);
        if let Some(name) = self.namesake() {
            say("log", TrustedLog::namesake(name));
        }
        for exception in self.exceptions() {
            let place = format!("exception {}", exception.id);
            if now >= exception.expires {
                let text = format!("it expired at {}: remove it", exception.expires);
                say(&place, text);
            }
            if !Rule::is_waivable(&exception.rule) {
                say(&place, not_waivable(&exception.rule));
            }
        }
        findings
    }

    /// Refuses what no new document may say, though it is read where it was signed before: an exception from a rule that
    /// cannot be waived, which has no effect, and a second log of one name, which is another one. For whoever signs a
    /// document, or is handed one to put it in force.
    ///
    /// # Errors
    /// Names the rule, or the log.
    pub fn check_new(&self) -> Result<(), PolicyError> {
        let allowed = self.scopes().iter().filter_map(Scope::exceptions);
        let allowed = allowed.flat_map(|exceptions| &exceptions.rules);
        let made = self.exceptions().iter().map(|exception| &exception.rule);
        if let Some(rule) = allowed.chain(made).find(|rule| !Rule::is_waivable(rule)) {
            return Err(PolicyError::nowhere(not_waivable(rule)));
        }
        match self.namesake() {
            Some(name) => Err(PolicyError::nowhere(TrustedLog::namesake(name))),
            None => Ok(()),
        }
    }

    /// The name that a second log has, if one has.
    fn namesake(&self) -> Option<&str> {
        let mut names = BTreeSet::new();
        let mut logs = self.logs().iter().map(TrustedLog::name);
        logs.find(|name| !names.insert(*name))
    }

    fn lint_validity(&self, now: Time, say: &mut impl FnMut(&str, String)) {
        if let Some(expires) = self.expires() {
            if now >= expires {
                say(
                    "expires",
                    format!("it expired at {expires} and admits nothing: sign a new version"),
                );
            } else if now.plus_days(SOON_DAYS) >= expires {
                let text = format!(
                    "it expires at {expires}, in less than {SOON_DAYS} days; from then on it admits nothing"
                );
                say("expires", text);
            }
        }
        if let Some(roots) = self.roots() {
            if roots.threshold == 1 {
                let text = "one root key alone can change the policy: let two of three sign it";
                say("roots", text.to_owned());
            } else if roots.threshold as usize == roots.keys.len() {
                let text = "if one root key is lost the policy can never change again: add a key";
                say("roots", text.to_owned());
            }
        }
    }

    fn lint_people(&self, say: &mut impl FnMut(&str, String)) {
        if self.edition() == Edition::V1 {
            return;
        }
        let mut asked: BTreeSet<&str> = BTreeSet::new();
        for scope in self.scopes() {
            asked.extend(scope.rules().iter().filter_map(Rule::role));
            asked.extend(scope.exceptions().map(|rule| rule.role.as_str()));
            for rule in scope.rules() {
                if let Rule::Approvals(rule) = rule {
                    asked.extend(rule.roles.iter().map(String::as_str));
                }
            }
        }
        let authority = self.authority();
        // Reports of incidents also come from the registry itself.
        asked.extend(authority.incident.iter().map(String::as_str));
        for (word, roles) in [
            ("reject", &authority.reject),
            ("deprecate", &authority.deprecate),
            ("revoke", &authority.revoke),
            ("take out of quarantine", &authority.close),
        ] {
            asked.extend(roles.iter().map(String::as_str));
            let somebody = self
                .identities()
                .iter()
                .any(|identity| roles.iter().any(|role| identity.has_role(role)));
            if !somebody {
                let roles: Vec<&str> = roles.iter().map(String::as_str).collect();
                let text = format!(
                    "nobody has role {}: nobody can {word} a release",
                    roles.join(" or ")
                );
                say("authority", text);
            }
        }
        let rules = || self.scopes().iter().flat_map(|scope| scope.rules());
        let (signing, attesting): (Vec<&Rule>, Vec<&Rule>) =
            rules().partition(|rule| matches!(rule, Rule::Signatures(_)));
        let roles_of = |rules: Vec<&'_ Rule>| -> BTreeSet<String> {
            let roles = rules.into_iter().filter_map(Rule::role);
            roles.map(str::to_owned).collect()
        };
        let (signing, attesting) = (roles_of(signing), roles_of(attesting));
        for identity in self.identities() {
            let place = format!("identity {}", identity.name);
            for key in &identity.keys {
                let has = |roles: &BTreeSet<String>| {
                    let found = roles.iter().find(|role| key.roles.contains(role));
                    found.cloned()
                };
                if let (Some(signs), Some(attests)) = (has(&signing), has(&attesting)) {
                    let text = format!(
                        "key {} is for \"{signs}\" and for \"{attests}\": cosign takes any statement by it for a signature, so sign releases with a key that does nothing else",
                        key.id()
                    );
                    say(&place, text);
                }
                if let super::Roles::Of(roles) = &key.roles {
                    if roles.is_empty() {
                        say(
                            &place,
                            format!("key {} has no role and counts for nothing", key.id()),
                        );
                    }
                    for role in roles.iter().filter(|role| !asked.contains(role.as_str())) {
                        say(
                            &place,
                            format!("role \"{role}\" is not asked for anywhere: is it misspelt?"),
                        );
                    }
                }
                if !key.counts_unlogged() && self.logs().is_empty() {
                    let text = format!(
                        "key {} counts for what stands between indexes of a log, but the policy trusts no log",
                        key.id()
                    );
                    say(&place, text);
                }
            }
        }
    }

    fn lint_scopes(&self, say: &mut impl FnMut(&str, String)) {
        for scope in self.scopes() {
            let patterns: Vec<&str> = scope
                .repositories()
                .iter()
                .map(|glob| glob.as_str())
                .collect();
            let place = format!("scope {}", patterns.join(", "));
            let allowed = scope.exceptions().map(|exceptions| &exceptions.rules);
            let mut allowed = allowed.into_iter().flatten();
            if let Some(rule) = allowed.find(|rule| !Rule::is_waivable(rule)) {
                say(&place, not_waivable(rule));
            }
            let has = |wanted: fn(&Rule) -> bool| scope.rules().iter().any(wanted);
            let has_provenance = has(|rule| matches!(rule, Rule::Provenance(_)));
            if scope.rules().is_empty() && patterns.contains(&"**") {
                say(
                    &place,
                    "every repository without a scope of its own asks for nothing".to_owned(),
                );
            }
            if scope.tag_rule() == TagRule::Mutable && !scope.rules().is_empty() {
                say(
                    &place,
                    "tags move, so what was judged is not what is pulled later: make them immutable".to_owned(),
                );
            }
            if !scope.staging() && !scope.rules().is_empty() {
                say(
                    &place,
                    "without staging whoever may pull reads everything by digest, judged or not"
                        .to_owned(),
                );
            }
            if has(|rule| matches!(rule, Rule::Approvals(rule) if rule.different_team > 0)) {
                self.lint_teams(&place, scope, say);
            }
            for rule in scope.rules() {
                let needs_builder = match rule {
                    Rule::Approvals(_) => true,
                    Rule::Reproduction(rule) => rule.independent,
                    _ => false,
                };
                if needs_builder && !has_provenance {
                    let text = format!(
                        "rule {} has to know the builder, and no rule asks for provenance: without it nothing is released",
                        rule.name()
                    );
                    say(&place, text);
                }
                if let Some(role) = rule.role() {
                    self.lint_spare(&place, rule, role, say);
                }
            }
        }
    }

    /// Builders of whom no team is known, where somebody of another team has to approve.
    fn lint_teams(&self, place: &str, scope: &Scope, say: &mut impl FnMut(&str, String)) {
        let building: BTreeSet<&str> = scope
            .rules()
            .iter()
            .filter(|rule| matches!(rule, Rule::Provenance(_)))
            .filter_map(Rule::role)
            .collect();
        for identity in self.identities() {
            let builds = building.iter().any(|role| identity.has_role(role));
            if builds && identity.teams.is_empty() {
                let text = format!(
                    "{} may build and has no team, and rule approvals asks for another team than the builder's: what {} builds is never released",
                    identity.name, identity.name
                );
                say(place, text);
            }
        }
    }

    fn lint_spare(&self, place: &str, rule: &Rule, role: &str, say: &mut impl FnMut(&str, String)) {
        let threshold = match rule {
            Rule::Signatures(rule) if rule.identities.is_empty() => rule.threshold,
            Rule::Approvals(rule) => rule.threshold,
            Rule::Reproduction(rule) => rule.threshold,
            _ => return,
        };
        let holders = self
            .identities()
            .iter()
            .filter(|identity| identity.has_role(role));
        if threshold > 1 && holders.count() == threshold as usize {
            let text = format!(
                "rule {} needs every one of those who have role \"{role}\": if one is away nothing is released",
                rule.name()
            );
            say(place, text);
        }
    }
}
