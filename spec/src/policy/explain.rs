//! A policy in plain words.

use super::rule::{Rule, join};
use super::scope::TagRule;
use super::{Edition, Policy};
use crate::name::RepoName;

impl Policy {
    /// What a release in a repository needs, a sentence each.
    pub fn explain(&self, repo: &RepoName) -> Vec<String> {
        let scope = self.scope_for(repo);
        let patterns: Vec<&str> = scope
            .repositories()
            .iter()
            .map(|glob| glob.as_str())
            .collect();
        let mut lines = vec![match patterns.is_empty() {
            true => format!("no scope matches {repo}, so what holds by default holds"),
            false => format!("{repo} is in the scope of {}", join(&patterns, "and")),
        }];
        lines.push(match scope.tag_rule() {
            TagRule::Immutable => {
                "a tag is made once, never moves and is never used again".to_owned()
            }
            TagRule::Mutable => "tags may move".to_owned(),
        });
        lines.push(match scope.staging() {
            true => "consumers read only what a release leads to".to_owned(),
            false => "whoever may pull reads everything".to_owned(),
        });
        if scope.rules().is_empty() {
            lines.push("a release needs nothing".to_owned());
        }
        for (number, rule) in scope.rules().iter().enumerate() {
            lines.push(format!(
                "{} a release needs {} [{}]",
                if number == 0 { "first," } else { "and" },
                rule.describe(),
                rule.name()
            ));
        }
        let can_be_waived = |rule: &&String| Rule::is_waivable(rule);
        if let Some(exceptions) = scope.exceptions()
            && exceptions.rules.iter().any(|rule| can_be_waived(&rule))
        {
            let rules = exceptions.rules.iter().filter(can_be_waived);
            lines.push(format!(
                "the rules {} can be waived for at most {} days by {} different people with role \"{}\", none of them the builder",
                join(rules, "and"),
                exceptions.max_days,
                exceptions.threshold,
                exceptions.role
            ));
        }
        for exception in self.exceptions() {
            let covered = scope
                .rules()
                .iter()
                .map(Rule::name)
                .any(|rule| Rule::is_waivable(rule) && exception.covers(repo, rule));
            if covered {
                lines.push(format!(
                    "rule {} is waived until {} for {} manifests ({}; {}; approved by {})",
                    exception.rule,
                    exception.expires,
                    exception.max_uses,
                    exception.reason,
                    exception.ticket,
                    join(&exception.approved_by, "and")
                ));
            }
        }
        if self.edition() == Edition::V2 {
            let authority = self.authority();
            lines.push(format!(
                "one person with role {} can revoke a release; with role {}, reject a candidate; with role {}, deprecate",
                join(&authority.revoke, "or"),
                join(&authority.reject, "or"),
                join(&authority.deprecate, "or")
            ));
            lines.push(format!(
                "the registry, or one person with role {}, puts a release with damaged content into quarantine; one with role {} takes it out",
                join(&authority.incident, "or"),
                join(&authority.close, "or")
            ));
        }
        if let Some(expires) = self.expires() {
            lines.push(format!(
                "this is version {} of the policy; it admits nothing from {expires} on",
                self.version()
            ));
        }
        lines
    }
}
