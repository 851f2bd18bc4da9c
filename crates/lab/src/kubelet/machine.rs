//! A simulated node: its GPUs, addresses and images.

use std::collections::{BTreeMap, BTreeSet};

/// One node as its kubelet sees it.
#[derive(Debug, Default)]
pub(super) struct Machine {
    pub(super) uid: String,
    pub(super) host_ip: String,
    /// The node's place in order of appearance; pods get their addresses from it.
    pub(super) number: u32,
    /// GPUs that the device plugin offers.
    pub(super) gpus: u32,
    /// Which pod (by uid) holds which GPU.
    pub(super) held: BTreeMap<u32, String>,
    /// Images that were pulled.
    pub(super) images: BTreeSet<String>,
    /// Addresses given out.
    pub(super) addresses: u32,
}

impl Machine {
    /// Gives GPUs to the containers of a pod, lowest index first: for each container the number
    /// it asks for. Fails with the number that is free if they do not all fit.
    pub(super) fn allocate(&mut self, pod_uid: &str, wanted: &[u32]) -> Result<Vec<Vec<u32>>, u32> {
        let free: Vec<u32> = (0..self.gpus)
            .filter(|i| !self.held.contains_key(i))
            .collect();
        let sum: u32 = wanted.iter().fold(0, |a, b| a.saturating_add(*b));
        if sum as usize > free.len() {
            return Err(free.len() as u32);
        }
        let mut free = free.into_iter();
        let given: Vec<Vec<u32>> = wanted
            .iter()
            .map(|n| free.by_ref().take(*n as usize).collect())
            .collect();
        for gpu in given.iter().flatten() {
            self.held.insert(*gpu, pod_uid.to_owned());
        }
        Ok(given)
    }

    /// Takes back what a pod held.
    pub(super) fn free(&mut self, pod_uid: &str) {
        self.held.retain(|_, holder| holder != pod_uid);
    }

    /// The address of the next pod.
    pub(super) fn next_ip(&mut self) -> String {
        // .0 and .1 are the network and its gateway; addresses are used again after 252 pods.
        let host = 2 + self.addresses % 252;
        self.addresses += 1;
        let net = self.number;
        format!("10.{}.{}.{host}", 244 + (net >> 8) % 11, net & 0xff)
    }

    /// The address of the node, where it does not say.
    pub(super) fn fallback_ip(number: u32) -> String {
        format!("10.224.{}.{}", number / 250, 4 + number % 250)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gpus_are_given_lowest_first_and_come_back() {
        let mut m = Machine {
            gpus: 4,
            ..Machine::default()
        };
        assert_eq!(m.allocate("a", &[1]), Ok(vec![vec![0]]));
        assert_eq!(
            m.allocate("b", &[1, 0, 1]),
            Ok(vec![vec![1], vec![], vec![2]])
        );
        assert_eq!(m.allocate("c", &[2]), Err(1));
        m.free("a");
        assert_eq!(m.allocate("c", &[2]), Ok(vec![vec![0, 3]]));
    }

    #[test]
    fn pods_get_addresses_of_their_node() {
        let mut m = Machine {
            number: 259,
            ..Machine::default()
        };
        assert_eq!(
            (m.next_ip(), m.next_ip()),
            ("10.245.3.2".into(), "10.245.3.3".into())
        );
    }
}
