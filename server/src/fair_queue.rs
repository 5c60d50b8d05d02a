//! A queue in which standing more often brings no more turns: networks take turns, and within one, who came first goes first.
//!
//! What costs the server something before it knows who asks for it (a TLS handshake, the check of a password) is given out by it. So one
//! host that asks ten thousand times holds up itself, and others by one turn.

use std::collections::{HashMap, VecDeque};
use std::net::IpAddr;

use crate::address::network;

/// Items of addresses, of which IPv6 ones count by their /64. Not bounded by itself: that is for those who push.
#[derive(Debug)]
pub(crate) struct FairQueue<T> {
    /// Never empty ones.
    by_network: HashMap<IpAddr, VecDeque<T>>,
    /// The same networks, in the order of their next turns.
    turns: VecDeque<IpAddr>,
    len: usize,
}

impl<T> Default for FairQueue<T> {
    fn default() -> Self {
        Self { by_network: HashMap::new(), turns: VecDeque::new(), len: 0 }
    }
}

impl<T> FairQueue<T> {
    /// How many there are.
    pub(crate) fn len(&self) -> usize {
        self.len
    }

    /// How many of them are of this address's network.
    pub(crate) fn len_of(&self, address: IpAddr) -> usize {
        self.by_network.get(&network(address)).map_or(0, VecDeque::len)
    }

    /// Behind all others of its network.
    pub(crate) fn push(&mut self, address: IpAddr, item: T) {
        let network = network(address);
        let items = self.by_network.entry(network).or_default();
        if items.is_empty() {
            self.turns.push_back(network);
        }
        items.push_back(item);
        self.len += 1;
    }

    /// The first of the network whose turn it is.
    pub(crate) fn pop(&mut self) -> Option<T> {
        let network = self.turns.pop_front()?;
        let items = self.by_network.get_mut(&network)?;
        let item = items.pop_front()?;
        self.len -= 1;
        if items.is_empty() {
            self.by_network.remove(&network);
        } else {
            self.turns.push_back(network);
        }
        Some(item)
    }

    /// The last that `may` be taken of the network that has the most, if that is more than so many. Looks at all networks.
    pub(crate) fn pop_last_of_longest(&mut self, more_than: usize, may: impl FnMut(&T) -> bool) -> Option<T> {
        let longest = self.by_network.iter().max_by_key(|(_, items)| items.len());
        let (&network, _) = longest.filter(|(_, items)| items.len() > more_than)?;
        let items = self.by_network.get_mut(&network)?;
        let item = items.remove(items.iter().rposition(may)?)?;
        self.len -= 1;
        if items.is_empty() {
            self.by_network.remove(&network);
            self.turns.retain(|other| *other != network);
        }
        Some(item)
    }

    /// All of them, in no order.
    pub(crate) fn iter_mut(&mut self) -> impl Iterator<Item = &mut T> {
        self.by_network.values_mut().flatten()
    }

    /// Keeps these.
    pub(crate) fn retain(&mut self, mut keep: impl FnMut(&T) -> bool) {
        self.by_network.retain(|_, items| {
            items.retain(&mut keep);
            !items.is_empty()
        });
        self.turns.retain(|network| self.by_network.contains_key(network));
        self.len = self.by_network.values().map(VecDeque::len).sum();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn host(last: u8) -> IpAddr {
        [10, 0, 0, last].into()
    }

    /// `each` of the first host, then one of the second.
    fn crowd(each: usize) -> FairQueue<(u8, usize)> {
        let mut queue = FairQueue::default();
        (0..each).for_each(|number| queue.push(host(1), (1, number)));
        queue.push(host(2), (2, 0));
        queue
    }

    #[test]
    fn who_asks_a_thousand_times_holds_another_up_by_one_turn() {
        let mut queue = crowd(1000);
        assert_eq!(queue.len(), 1001);
        let first: Vec<_> = std::iter::from_fn(|| queue.pop()).take(4).collect();
        assert_eq!(first, [(1, 0), (2, 0), (1, 1), (1, 2)]);
        assert_eq!((queue.len(), queue.len_of(host(1)), queue.len_of(host(2))), (997, 997, 0));
        assert_eq!(std::iter::from_fn(|| queue.pop()).count(), 997);
        assert!(queue.by_network.is_empty() && queue.turns.is_empty());
    }

    #[test]
    fn hosts_of_one_ipv6_network_share_its_turns() {
        let mut queue = FairQueue::default();
        for (text, item) in [("2001:db8::1", 1), ("2001:db8::2", 2), ("2001:db8:0:1::1", 3)] {
            queue.push(text.parse().unwrap(), item);
        }
        assert_eq!(std::iter::from_fn(|| queue.pop()).collect::<Vec<_>>(), [1, 3, 2]);
    }

    #[test]
    fn the_last_of_those_who_have_the_most_makes_room() {
        let mut queue = crowd(3);
        assert_eq!(queue.pop_last_of_longest(3, |_| true), None);
        assert_eq!(queue.pop_last_of_longest(2, |_| false), None);
        assert_eq!(queue.pop_last_of_longest(2, |(_, number)| *number < 2), Some((1, 1)));
        assert_eq!(queue.len(), 3);
        for _ in 0..3 {
            assert!(queue.pop_last_of_longest(0, |_| true).is_some());
        }
        assert_eq!(queue.pop(), None);
        assert!(queue.by_network.is_empty() && queue.turns.is_empty());
    }

    #[test]
    fn what_is_not_kept_takes_no_turn() {
        let mut queue = crowd(3);
        queue.retain(|(host, number)| *host == 1 && *number > 0);
        assert_eq!(queue.len(), 2);
        assert_eq!(std::iter::from_fn(|| queue.pop()).collect::<Vec<_>>(), [(1, 1), (1, 2)]);
        assert_eq!(queue.turns.len(), 0);
    }
}
