//! The Sealstone registry: an OCI registry that refuses what it cannot verify.
//!
//! Modules use only what stands before them in this line:
//! `allocator, clock, file, metrics, process < auth < metadata, blobs < log < service < api, jobs < config, boot, witness < main`.
//!
//! | module | what it owns |
//! | --- | --- |
//! | [`auth`] | who somebody is, and the proof that they may do something |
//! | [`metadata`] | which repository has what, what tags name |
//! | [`blobs`] | bytes under keys, hashed on the way in and checked on the way out |
//! | [`log`] | the transparency log: appender, key, proofs, cosignatures |
//! | [`service`] | the use cases; the only place where storage and trust meet |
//! | [`api`] | HTTP: parses, authorises, calls one use case, renders |
//! | [`jobs`] | what runs on a schedule; the end of a server whose metadata store is stuck |
//! | [`allocator`], [`clock`], [`file`](mod@file), [`metrics`], [`process`] | keeps memory flat; time as a parameter; files that are replaced as a whole; what is counted; files that only the server's user reads, and how many are open |
//! | [`config`], [`boot`] | from a file to a running server |
//! | [`witness`] | cosigning the logs of others |

pub mod allocator;
pub mod api;
pub mod auth;
pub mod blobs;
pub mod boot;
pub mod clock;
pub mod config;
pub mod file;
pub mod jobs;
pub mod log;
pub mod metadata;
pub mod metrics;
pub mod process;
pub mod service;
pub mod witness;
