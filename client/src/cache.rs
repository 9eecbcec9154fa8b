//! The user's cache: what can be made or fetched again.

use std::path::{Path, PathBuf};

/// `$XDG_CACHE_HOME/sealstone`, else `~/.cache/sealstone`; `None` if neither variable is set.
pub(crate) fn of_user() -> Option<PathBuf> {
    let variable = |name: &str| std::env::var_os(name).filter(|value| !value.is_empty());
    let cache = variable("XDG_CACHE_HOME")
        .map(PathBuf::from)
        .or_else(|| variable("HOME").map(|home| Path::new(&home).join(".cache")));
    cache.map(|cache| cache.join("sealstone"))
}
