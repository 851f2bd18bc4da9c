//! Which GPU of a node a pod gets, as a device plugin would choose: the lowest
//! free ones, kept for as long as the pod is there.

/// The GPUs of one node and the pods that hold them.
#[derive(Clone, Debug, Default)]
pub struct Assignments {
    holders: Vec<Option<String>>,
}

impl Assignments {
    /// A node with this many free GPUs.
    pub fn new(gpus: usize) -> Self {
        Self {
            holders: vec![None; gpus],
        }
    }

    /// Brings the holders in line with the pods that are there now (a key for
    /// each and how many GPUs it holds). Pods get what is left, in order.
    pub fn update<'a>(&mut self, pods: impl IntoIterator<Item = (&'a str, u32)> + Clone) {
        for holder in &mut self.holders {
            let gone = holder
                .as_deref()
                .is_some_and(|held| pods.clone().into_iter().all(|(key, _)| key != held));
            if gone {
                *holder = None;
            }
        }
        for (key, want) in pods {
            let has = self
                .holders
                .iter()
                .filter(|h| h.as_deref() == Some(key))
                .count();
            let missing = (want as usize).saturating_sub(has);
            for holder in self
                .holders
                .iter_mut()
                .filter(|h| h.is_none())
                .take(missing)
            {
                *holder = Some(key.to_owned());
            }
        }
    }

    /// The pod that holds a GPU.
    pub fn holder(&self, index: usize) -> Option<&str> {
        self.holders.get(index)?.as_deref()
    }

    /// The GPUs a pod holds.
    pub fn held_by<'a>(&'a self, key: &'a str) -> impl Iterator<Item = usize> + 'a {
        let holders = self.holders.iter().enumerate();
        holders
            .filter(move |(_, h)| h.as_deref() == Some(key))
            .map(|(index, _)| index)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pods_keep_their_gpus_and_new_ones_take_what_is_free() {
        let mut node = Assignments::new(4);
        node.update([("a", 1), ("b", 2)]);
        node.update([("b", 2), ("c", 1)]);
        assert_eq!(node.held_by("b").collect::<Vec<_>>(), [1, 2]);
        assert_eq!(node.holder(0), Some("c"));
        node.update([("b", 2), ("c", 1), ("d", 8)]);
        assert_eq!(
            node.held_by("d").collect::<Vec<_>>(),
            [3],
            "no more than there are"
        );
        node.update([]);
        assert_eq!(node.holder(1), None);
    }
}
