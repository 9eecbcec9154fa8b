//! Bills of materials of what lies somewhere: a bundle, a directory, an installation.
//!
//! Owns gathering; what a bill says and when it agrees is `sealstone_spec::bom`'s.
//!
//! | file | what it owns |
//! | --- | --- |
//! | `bundle` | what a bundle's manifest, configuration and lock file say |
//! | `directory` | the files below a directory |
//! | `locked` | what a recipe and its lock say: metrics, data, packages, environment |
//! | `installed` | the packages of a Python installation, file by file |

mod bundle;
mod directory;
mod installed;
mod locked;

pub use bundle::{locked_packages, model_of, packages_in};
pub use directory::{Below, all_files_below, files_below};
pub use installed::{Installation, installed_in};
pub use locked::{environment_of, fill_card, package_list, packages_of, sealed_below};
