//! All links together, and how they are told.

use serde::{Deserialize, Serialize};

use crate::{Link, State, count};

/// The links of one object, or of the cluster.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Chain {
    /// `cluster`, or `scaledobject/NAME in NAMESPACE`.
    pub of: String,
    /// In order.
    pub links: Vec<Link>,
}

/// What was found.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Report {
    /// The cluster first, then the objects.
    pub chains: Vec<Chain>,
    /// Links behind the first broken one that are not told.
    pub left_out: usize,
}

impl Report {
    /// The first broken link, if any, with whose it is.
    pub fn broken(&self) -> Option<(&str, &Link)> {
        let links = self
            .chains
            .iter()
            .flat_map(|chain| chain.links.iter().map(|link| (chain.of.as_str(), link)));
        links.into_iter().find(|(_, l)| l.state == State::Broken)
    }

    /// Whether what was asked about could not be looked at: the cluster does not
    /// answer, or an object's own first link is unknown.
    pub fn blind(&self) -> bool {
        self.chains.iter().enumerate().any(|(at, chain)| {
            let first = chain.links.first().map(|link| link.state);
            first
                == Some(if at == 0 {
                    State::Broken
                } else {
                    State::Unknown
                })
        })
    }

    /// Adds the links of one more object. With `all` it goes on behind a
    /// broken link; without, what follows only counts as left out.
    pub fn add(&mut self, of: impl Into<String>, mut links: Vec<Link>, all: bool) {
        if !all {
            if self.broken().is_some() {
                self.left_out += links.len();
                return;
            }
            let broken = links.iter().position(|l| l.state == State::Broken);
            let kept = broken.map_or(links.len(), |at| at + 1);
            self.left_out += links.len() - kept;
            links.truncate(kept);
        }
        self.chains.push(Chain {
            of: of.into(),
            links,
        });
    }

    /// The report as lines: one a link, a second with the cure where there is
    /// one.
    pub fn text(&self) -> String {
        let names = self.chains.iter().flat_map(|chain| &chain.links);
        let width = names.map(|link| link.name.chars().count()).max();
        let width = width.unwrap_or(0);
        let mut out = String::new();
        for chain in &self.chains {
            out.push_str(&format!("{}\n", chain.of));
            for link in &chain.links {
                let mark = match link.state {
                    State::Ok => '✓',
                    State::Broken => '✗',
                    State::Unknown => '?',
                    State::Skipped => '-',
                };
                let (name, finding) = (&link.name, one_line(&link.finding));
                out.push_str(&format!("{mark} {name:width$}  {finding}\n"));
                if let Some(cure) = &link.cure {
                    out.push_str(&format!("  {:width$}  cure: {}\n", "", one_line(cure)));
                }
            }
        }
        if self.left_out > 0 {
            out.push_str(&format!(
                "{} behind the broken one not told; --all goes on\n",
                count(self.left_out, "link")
            ));
        }
        out
    }
}

/// Messages of servers may have line breaks and control characters.
fn one_line(text: &str) -> String {
    let clean: String = text
        .chars()
        .map(|c| if c.is_control() { ' ' } else { c })
        .collect();
    clean.split_whitespace().collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_stops_at_the_first_broken_link() {
        let links = || {
            vec![
                Link::ok("API server", "there"),
                Link::broken("labels", "none\nmatches", "select by pod"),
                Link::ok("HPA", "there"),
            ]
        };
        let mut report = Report::default();
        report.add("cluster", links(), false);
        report.add("scaledobject/a in b", links(), false);
        assert_eq!(
            report.text(),
            "cluster\n\
             ✓ API server  there\n\
             ✗ labels      none matches\n              \
             cure: select by pod\n\
             4 links behind the broken one not told; --all goes on\n"
        );
        assert_eq!(
            report.broken().map(|(of, l)| (of, l.name.as_str())),
            Some(("cluster", "labels"))
        );
        assert!(!report.blind());
        let mut unseen = Report::default();
        unseen.add("cluster", vec![Link::ok("API server", "there")], false);
        unseen.add(
            "hpa/a in b",
            vec![Link::unknown("HPA", "denied", "ask")],
            false,
        );
        assert!(unseen.blind() && unseen.broken().is_none());
        let mut all = Report::default();
        all.add("cluster", links(), true);
        assert_eq!((all.left_out, all.chains[0].links.len()), (0, 3));
    }
}
