//! A share of the connections for each address: one client must not take them all.

use std::{
    collections::HashMap,
    net::{IpAddr, Ipv6Addr},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

/// How many connections each address has.
pub(super) struct Peers {
    max: usize,
    open: Arc<Mutex<HashMap<IpAddr, usize>>>,
}

/// One connection of an address; given back when it is dropped.
pub(super) struct Share {
    of: IpAddr,
    open: Arc<Mutex<HashMap<IpAddr, usize>>>,
}

impl Peers {
    pub(super) fn new(max: usize) -> Self {
        Self { max, open: Arc::default() }
    }

    /// Counts one more connection of `address`, unless it has its share.
    pub(super) fn admit(&self, address: IpAddr) -> Option<Share> {
        let of = one_host(address);
        let mut open = lock(&self.open);
        let count = open.entry(of).or_default();
        if *count >= self.max {
            return None;
        }
        *count += 1;
        Some(Share { of, open: Arc::clone(&self.open) })
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        let mut open = lock(&self.open);
        if let Some(count) = open.get_mut(&self.of) {
            *count -= 1;
            if *count == 0 {
                open.remove(&self.of);
            }
        }
    }
}

/// What belongs to one host: a host with IPv6 has a whole /64 to call from.
fn one_host(address: IpAddr) -> IpAddr {
    const NETWORK: u128 = !0 << 64;
    match address.to_canonical() {
        IpAddr::V6(v6) => Ipv6Addr::from_bits(v6.to_bits() & NETWORK).into(),
        v4 @ IpAddr::V4(_) => v4,
    }
}

fn lock(open: &Mutex<HashMap<IpAddr, usize>>) -> MutexGuard<'_, HashMap<IpAddr, usize>> {
    open.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_of_one_host_share_and_what_is_given_back_is_free_again() {
        for (one, same, other) in [
            ("192.0.2.1", "::ffff:192.0.2.1", "192.0.2.2"),
            ("2001:db8::1", "2001:db8::ffff:0:0:2", "2001:db8:0:1::1"),
        ] {
            let peers = Peers::new(1);
            let first = peers.admit(one.parse().unwrap());
            assert!(first.is_some());
            assert!(peers.admit(same.parse().unwrap()).is_none(), "{same}");
            assert!(peers.admit(other.parse().unwrap()).is_some(), "{other}");
            drop(first);
            assert!(peers.admit(same.parse().unwrap()).is_some(), "{same}");
            assert!(lock(&peers.open).is_empty(), "an address that has left is remembered");
        }
    }
}
