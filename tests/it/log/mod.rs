//! The transparency log of the real server: kills, rewritten histories, the client that notices.
//!
//! `reader` checks what the server shows and `bench` makes it show something; every other file is one subject. Does
//! not own witnesses (`witnesses.rs`) and releases that bring proofs of another log along (`carried.rs`).

mod answered;
mod bench;
mod history;
mod kills;
mod outside;
mod reader;
mod served;
mod started;

pub(crate) use bench::{last_secret, push_tag, ready};
pub(crate) use reader::{checkpoint, checkpoint_is_kept, logged, size, text, vkey};
