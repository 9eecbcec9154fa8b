//! Environments: what one is, captured as facts, and one made anew from locked wheels.
//!
//! Owns the reading of this machine and the making of environments: virtual ones of Python, root file
//! systems, images. What the facts mean and how
//! they are compared is in `spec`.
//! Invariant: only facts of the table are read. The variables of the caller are never looked at, and a value
//! that looks like a secret is left out and named.

mod cache;
mod capture;
mod git;
mod image;
mod inside;
mod kept;
mod machine;
mod place;
mod prepare;
mod python;
mod rootfs;
mod settings;
mod tree;
mod unpack;

pub use capture::{Capture, Captured, capture};
pub(crate) use git::is_tracked;
pub use git::{
    Repository, changed_files, filters_left_out, prefix_in_repository, repository, uncommitted,
};
pub use image::fetch_image;
pub use prepare::{Prepared, prepare, prepare_kept};
pub use python::{Interpreter, PythonEnvironment, find_interpreter, materialise, pip_command};
pub(crate) use python::{failed, stated_version};
