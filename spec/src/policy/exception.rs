//! Exceptions applied: a rule that is not met may be waived, by the policy's own exceptions or by
//! signed ones, as long as they last and as often as they allow.

use super::evidence::printable;
use super::hearing::{Counted, Hearing};
use super::lifecycle::{EXCEPTION, Exception};
use super::rule::{Rule, RuleResult, join};
use super::{Circumstances, ExceptionUse};
use crate::digest::Digest;
use std::collections::{BTreeMap, BTreeSet};

/// Waives a result if an exception covers it; otherwise says why those that are there do not.
pub(super) fn waive(
    hearing: &Hearing<'_>,
    circumstances: &Circumstances,
    result: &mut RuleResult,
) -> Option<ExceptionUse> {
    // Documents that were signed before this was refused may have one.
    if !Rule::is_waivable(&result.rule) {
        return None;
    }
    let repo = hearing.case.repository();
    let mut problems = Vec::new();
    for exception in hearing.policy.exceptions() {
        if !exception.covers(repo, &result.rule) {
            continue;
        }
        let own = ExceptionUse {
            key: format!("policy:{}", exception.id),
            id: exception.id.clone(),
            rule: result.rule.clone(),
            max_uses: exception.max_uses,
            expires: exception.expires,
        };
        match usable(hearing, circumstances, &own) {
            Ok(()) => {
                let by = join(&exception.approved_by, "and");
                apply(
                    result,
                    &own,
                    &exception.reason,
                    &exception.ticket,
                    &by,
                    Vec::new(),
                );
                return Some(own);
            }
            Err(problem) => problems.push(format!("exception {}: {problem}", own.id)),
        }
    }
    let granted = signed(hearing, &result.rule, &mut problems);
    for (exception, (people, evidence)) in granted {
        let own = ExceptionUse {
            key: exception.key(),
            id: exception.id.clone(),
            rule: result.rule.clone(),
            max_uses: exception.max_uses,
            expires: exception.expires,
        };
        match usable(hearing, circumstances, &own)
            .and_then(|()| may_grant(hearing, &exception, &people))
        {
            Ok(()) => {
                let by = join(&people, "and");
                apply(
                    result,
                    &own,
                    &exception.reason,
                    &exception.ticket,
                    &by,
                    evidence,
                );
                return Some(own);
            }
            Err(problem) => problems.push(format!("exception {}: {problem}", own.id)),
        }
    }
    let problems = problems.iter().map(|problem| printable(problem));
    result.reasons.extend(problems);
    None
}

fn apply(
    result: &mut RuleResult,
    exception: &ExceptionUse,
    reason: &str,
    ticket: &str,
    by: &str,
    evidence: Vec<Digest>,
) {
    let clean = |text: &str| {
        text.chars()
            .filter(|c| !c.is_control())
            .take(300)
            .collect::<String>()
    };
    result.reasons.push(format!(
        "waived until {} by exception {} ({}; {}), approved by {by}",
        exception.expires,
        clean(&exception.id),
        clean(reason),
        clean(ticket)
    ));
    result.satisfied = true;
    result.remedy = None;
    result.exception = Some(exception.id.clone());
    result.evidence = evidence;
    result.evidence.sort_unstable();
}

fn usable(
    hearing: &Hearing<'_>,
    circumstances: &Circumstances,
    exception: &ExceptionUse,
) -> Result<(), String> {
    hearing.changes_at(exception.expires);
    if hearing.now >= exception.expires {
        return Err(format!("it expired at {}", exception.expires));
    }
    let used = circumstances.uses.get(&exception.key);
    let manifest = hearing.case.manifest();
    match used {
        Some(used) if !used.contains(manifest) && used.len() >= exception.max_uses as usize => Err(
            format!("it is used up: {} of {}", used.len(), exception.max_uses),
        ),
        _ => Ok(()),
    }
}

type Granted<'a> = BTreeMap<Exception, (BTreeSet<&'a str>, Vec<Digest>)>;

/// Signed exceptions from a rule, with those who signed the very same words.
fn signed<'a>(hearing: &'a Hearing<'_>, rule: &str, problems: &mut Vec<String>) -> Granted<'a> {
    let mut granted = Granted::new();
    let Some(allowed) = hearing.scope.exceptions() else {
        return granted;
    };
    for counted in hearing.with_role(&[EXCEPTION], &allowed.role, problems) {
        match read(hearing, counted) {
            Ok(exception) if exception.rule == rule => {
                let (people, evidence) = granted.entry(exception).or_default();
                people.insert(counted.identity.name.as_str());
                evidence.push(counted.evidence);
            }
            Ok(_) => {}
            Err(problem) => problems.push(format!(
                "the exception by {}: {problem}",
                counted.identity.name
            )),
        }
    }
    granted
}

fn read(hearing: &Hearing<'_>, counted: &Counted<'_>) -> Result<Exception, String> {
    let predicate = counted.statement.predicate().ok_or("it is empty")?;
    let exception = Exception::read(predicate)?;
    match exception.covers(hearing.case.repository()) {
        true => Ok(exception),
        false => Err("it is for other repositories".to_owned()),
    }
}

fn may_grant(
    hearing: &Hearing<'_>,
    exception: &Exception,
    people: &BTreeSet<&str>,
) -> Result<(), String> {
    let allowed = hearing
        .scope
        .exceptions()
        .ok_or("no exception is allowed here")?;
    if !allowed.rules.contains(&exception.rule) {
        return Err(format!("rule {} cannot be waived here", exception.rule));
    }
    let longest = hearing.now.plus_days(allowed.max_days);
    if exception.expires > longest {
        // It becomes usable when its end has come near enough.
        hearing.changes_at(exception.expires.minus_days(allowed.max_days));
        return Err(format!(
            "it lasts until {}, longer than {} days",
            exception.expires, allowed.max_days
        ));
    }
    let builders = hearing.builders();
    let counting = people
        .iter()
        .filter(|name| !builders.contains(*name))
        .count();
    if counting < allowed.threshold as usize {
        return Err(format!(
            "it needs {} different people with role \"{}\" other than the builder, {counting} signed it",
            allowed.threshold, allowed.role
        ));
    }
    Ok(())
}
