//! Targets for private keys of other tools, before anything opens them.

use sealstone::keys::CosignKey;

/// No file makes whoever reads it spend more on opening it than cosign's own keys do.
pub(super) fn cosign_key(input: &[u8]) -> bool {
    let Ok(locked) = CosignKey::parse(input) else {
        return false;
    };
    assert!(locked.memory() <= 128 << 20, "{} bytes", locked.memory());
    assert!(CosignKey::parse(input).is_ok(), "read twice");
    true
}
