//! Bytes that no compression and no deduplication can shorten, made while they are sent.
//!
//! Invariant: a payload is a function of its seed alone; two seeds share no block.

use sha2::{Digest, Sha256};

/// How much is generated, hashed and written at a time.
pub(crate) const CHUNK: usize = 1 << 20;

/// A stream of pseudo-random bytes (splitmix64), far faster than a socket.
#[derive(Clone)]
pub(crate) struct Payload {
    state: u64,
}

impl Payload {
    pub(crate) fn new(seed: u64, stream: u64) -> Payload {
        // One round of mixing, so that neighbouring seeds do not give shifted copies of one sequence.
        Payload {
            state: mix(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ mix(stream.wrapping_add(1))),
        }
    }

    pub(crate) fn fill(&mut self, buffer: &mut [u8]) {
        let mut state = self.state;
        let mut words = buffer.chunks_exact_mut(8);
        for word in &mut words {
            state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
            word.copy_from_slice(&mix(state).to_le_bytes());
        }
        let rest = words.into_remainder();
        if !rest.is_empty() {
            state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
            let last = mix(state).to_le_bytes();
            for (target, source) in rest.iter_mut().zip(last) {
                *target = source;
            }
        }
        self.state = state;
    }
}

fn mix(mut value: u64) -> u64 {
    value = (value ^ (value >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    value = (value ^ (value >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    value ^ (value >> 31)
}

/// Calls `sink` with the `length` bytes of a payload, a chunk at a time.
pub(crate) fn each_chunk<E>(
    mut payload: Payload,
    length: u64,
    mut sink: impl FnMut(&[u8]) -> Result<(), E>,
) -> Result<(), E> {
    let mut buffer = vec![0; CHUNK];
    let mut left = length;
    while left > 0 {
        let size = usize::try_from(left).unwrap_or(CHUNK).min(CHUNK);
        payload.fill(&mut buffer[..size]);
        sink(&buffer[..size])?;
        left -= size as u64;
    }
    Ok(())
}

/// The digest of a payload, as `sha256:<hex>`.
pub(crate) fn digest(payload: Payload, length: u64) -> String {
    let mut hasher = Sha256::new();
    let done: Result<(), std::convert::Infallible> = each_chunk(payload, length, |chunk| {
        hasher.update(chunk);
        Ok(())
    });
    match done {
        Ok(()) => named(&hasher.finalize()),
        Err(never) => match never {},
    }
}

pub(crate) fn digest_of(bytes: &[u8]) -> String {
    named(&Sha256::digest(bytes))
}

fn named(hash: &[u8]) -> String {
    format!("sha256:{}", data_encoding::HEXLOWER.encode(hash))
}
