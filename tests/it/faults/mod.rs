//! One fault at a time in a real project, and the exact verdict that the real client gives it.
//!
//! The project is `tests/examples/digits`, and for the faults that every project can have `tests/examples/words` too
//! (`torch.rs`); what is common to all is in `bench.rs`, what differs in `subject.rs`. Owns: verdict, exit code, origin
//! stage, place and attribution of each fault. Does not own: what comparisons and attributions mean (`spec`), the same
//! faults on a toy with a fake machine (`client/src/replay/tests`), isolation alone (`isolation.rs`).

mod bench;
mod bytes;
mod changes;
mod hidden;
mod machine;
mod measured;
mod people;
mod places;
mod subject;
mod torch;
mod unruly;
mod words;
