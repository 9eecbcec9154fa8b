//! Addresses for servers that tests start: each is given once, and stays with whoever got it.
//!
//! A server that was killed listens again on the port that it had, and whoever asks meanwhile must not meet another one.
//! So ports are counted, not drawn, and lie where the system takes none for connections; and of all processes that start
//! servers, each has blocks of its own.
//! Invariant: no address is given twice in a process, nor by another one while this one lives.

use anyhow::bail;
use std::net::{SocketAddr, TcpListener};
use std::sync::{Mutex, PoisonError};

/// The first port that is given.
const FIRST: u16 = 10_000;
/// Ports of a block; the first of them is never given.
const BLOCK: u16 = 500;

/// What a process may give.
struct Ports {
    /// One listens on the first port of each block that is this process's: there no other process gets it.
    guards: Vec<TcpListener>,
    next: u16,
    end: u16,
}

static OWN: Mutex<Ports> = Mutex::new(Ports::new());

/// A loopback address on which nobody listens, and which nobody else is given.
///
/// # Errors
/// If there is none left.
pub fn free_address() -> anyhow::Result<SocketAddr> {
    let mut own = OWN.lock().unwrap_or_else(PoisonError::into_inner);
    own.give()
}

fn loopback(port: u16) -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], port))
}

/// From this port on the system takes those of connections. Below a machine's own range, if that leaves any room.
fn end() -> u16 {
    let range =
        std::fs::read_to_string("/proc/sys/net/ipv4/ip_local_port_range").unwrap_or_default();
    let first = range.split_whitespace().next();
    let first = first.and_then(|first| first.parse::<u16>().ok());
    let first = first.filter(|first| *first >= FIRST + BLOCK);
    first.unwrap_or(32_768)
}

impl Ports {
    const fn new() -> Ports {
        Ports {
            guards: Vec::new(),
            next: 0,
            end: 0,
        }
    }

    fn give(&mut self) -> anyhow::Result<SocketAddr> {
        loop {
            if self.next == self.end {
                self.claim()?;
            }
            let address = loopback(self.next);
            self.next += 1;
            // Programs that are no tests have ports there as well.
            if TcpListener::bind(address).is_ok() {
                return Ok(address);
            }
        }
    }

    /// Takes a block that no process has, the first that is tried being another for the next process.
    fn claim(&mut self) -> anyhow::Result<()> {
        let blocks = (end() - FIRST) / BLOCK;
        let start = u16::try_from(std::process::id() % u32::from(blocks))?;
        for number in 0..blocks {
            let first = FIRST + ((start + number) % blocks) * BLOCK;
            if let Ok(guard) = TcpListener::bind(loopback(first)) {
                self.guards.push(guard);
                (self.next, self.end) = (first + 1, first + BLOCK);
                return Ok(());
            }
        }
        bail!("no free ports on the loopback interface")
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn no_address_is_given_twice_and_none_where_connections_take_theirs() {
        // More than a block has, by several threads.
        let ask = || -> Vec<SocketAddr> { (0..150).map(|_| free_address().unwrap()).collect() };
        let given: Vec<SocketAddr> = std::thread::scope(|scope| {
            let threads: Vec<_> = (0..4).map(|_| scope.spawn(ask)).collect();
            let given = threads.into_iter().map(|thread| thread.join().unwrap());
            given.flatten().collect()
        });
        let different: BTreeSet<SocketAddr> = given.iter().copied().collect();
        assert_eq!((given.len(), different.len()), (600, 600));
        let range = FIRST..end();
        assert!(different.iter().all(|given| range.contains(&given.port())));
    }

    #[test]
    fn another_process_has_another_block_and_a_port_that_is_taken_is_passed_over() {
        let (mut one, mut other) = (Ports::new(), Ports::new());
        let first = one.give().unwrap().port();
        let apart = other.give().unwrap().port();
        assert!(!(first..one.end).contains(&apart), "{first}, {apart}");
        // Somebody else may have it, which is as good.
        let Ok(taken) = TcpListener::bind(loopback(first + 1)) else {
            return;
        };
        assert_ne!(one.give().unwrap(), taken.local_addr().unwrap());
    }
}
