//! Documents that hold exactly what their type can write: strict reading for signed formats.
//!
//! serde reads more than it writes: a list in place of an object, `null` for what may be absent. Other
//! verifiers differ there, and a document that they read differently is one to forge with. So what
//! was read is written again and compared, value by value.

use crate::canonical::{JsonError, parse_value};
use serde::Serialize;
use serde::de::{DeserializeOwned, Error as _};

/// Reads `bytes` as `T` and refuses whatever `T` would not have written in the same values.
pub(crate) fn parse_exact<T: DeserializeOwned + Serialize>(
    bytes: &[u8],
    max_bytes: usize,
) -> Result<T, JsonError> {
    let value = parse_value(bytes, max_bytes)?;
    let read = T::deserialize(&value)?;
    if serde_json::to_value(&read)? != value {
        let text = "a field is null, or a list stands where an object is due";
        return Err(serde_json::Error::custom(text).into());
    }
    Ok(read)
}
