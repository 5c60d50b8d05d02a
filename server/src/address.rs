//! Clients by where they come from: what counts as one address, and how many connections each has.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::{Mutex, PoisonError};

/// What counts as one address: IPv6 hosts have a /64 to themselves, from which to choose as they like. An IPv4 address in IPv6's clothes is
/// that IPv4 address.
#[must_use]
pub fn network(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(address) => Ipv6Addr::from(u128::from(address) >> 64 << 64).into(),
        address => address,
    }
}

/// Counts each address's connections over all shards. It remembers those that have one, and no others: its memory is bounded by
/// MAX_CONNECTIONS.
#[derive(Debug)]
pub struct AddressLimit {
    most: usize,
    open: Mutex<HashMap<IpAddr, usize>>,
}

impl AddressLimit {
    /// Allows each address `most` connections at once; 0: any number, and nothing is counted.
    #[must_use]
    pub fn new(most: usize) -> Self {
        Self { most, open: Mutex::default() }
    }

    /// How many connections an address may have; 0: any number.
    #[must_use]
    pub fn most(&self) -> usize {
        self.most
    }

    /// Counts a connection in, if its address may have another one.
    #[must_use]
    pub fn enter(&self, address: IpAddr) -> bool {
        if self.most == 0 {
            return true;
        }
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        let connections = open.entry(network(address)).or_insert(0);
        if *connections >= self.most {
            return false;
        }
        *connections += 1;
        true
    }

    /// Counts a connection out that was counted in.
    pub fn leave(&self, address: IpAddr) {
        if self.most == 0 {
            return;
        }
        let mut open = self.open.lock().unwrap_or_else(PoisonError::into_inner);
        let address = network(address);
        if let Some(connections) = open.get_mut(&address) {
            *connections -= 1;
            if *connections == 0 {
                open.remove(&address);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_has_so_many_connections_and_no_more_and_others_do_not_suffer() {
        let limit = AddressLimit::new(2);
        let (one, other) = (IpAddr::from([10, 0, 0, 1]), IpAddr::from([10, 0, 0, 2]));
        assert!(limit.enter(one) && limit.enter(one));
        assert!(!limit.enter(one));
        assert!(limit.enter(other));
        limit.leave(one);
        assert!(limit.enter(one));
    }

    #[test]
    fn ipv6_hosts_count_by_their_network_and_mapped_addresses_as_what_they_are() {
        let limit = AddressLimit::new(1);
        let parse = |text: &str| text.parse::<IpAddr>().unwrap();
        assert!(limit.enter(parse("2001:db8::1")));
        assert!(!limit.enter(parse("2001:db8::ffff:2")));
        assert!(limit.enter(parse("2001:db8:0:1::1")));
        assert!(limit.enter(parse("10.0.0.1")));
        assert!(!limit.enter(parse("::ffff:10.0.0.1")));
    }

    #[test]
    fn only_those_who_are_connected_are_remembered() {
        let limit = AddressLimit::new(10);
        for n in 0..1_000_u32 {
            let address = IpAddr::from(n.to_be_bytes());
            assert!(limit.enter(address));
            limit.leave(address);
        }
        assert!(limit.open.lock().unwrap().is_empty());
    }
}
