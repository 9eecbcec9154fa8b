//! The registry's promises, shown through its real binary: each file is one subject, each test one rule.
//!
//! Owns: processes that are killed, filled, damaged and lied to. Does not own: the OCI suite
//! (`conformance`), real clients (`interop`) and the parts alone, which the crates test themselves.

#![allow(clippy::unwrap_used, missing_docs)]

mod anonymous;
mod approvers;
mod attest;
mod author;
mod carried;
mod chain;
mod client;
mod compare;
mod content;
mod damage;
mod deploy;
mod drain;
mod encrypted;
mod environment;
mod faults;
mod full;
mod gate;
mod gc;
mod gone;
mod habits;
mod hostile;
mod image;
mod incident;
mod interrupt;
mod isolation;
mod kill;
mod leaves;
mod log;
mod model_desk;
mod name;
mod offline;
mod onboarding;
mod operator;
mod outdated;
mod pack_recipe;
mod pin;
mod policy;
mod policy_desk;
mod project_desk;
mod quota;
mod raw;
mod readers;
mod referrers;
mod release;
mod replay;
mod replicates;
mod resume;
mod rights;
mod rights_table;
mod run;
mod shell;
mod signing;
mod staging;
mod statements;
mod system;
mod tags;
mod templates;
mod terminal;
mod unpack;
mod uploads;
mod witnesses;
