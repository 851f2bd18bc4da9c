//! Node pools: what one node of a pool is, how many there may be, what they cost.

mod node;
mod skus;

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use crate::duration::GoDuration;
use crate::near::nearest;

pub use node::NodeName;
pub use skus::{SKUS, Sku};

/// Keys of a pool's description, in the order in which they are documented.
const KEYS: [&str; 12] = [
    "name",
    "sku",
    "gpus",
    "min",
    "max",
    "count",
    "price",
    "taint",
    "provision",
    "label",
    "cpu",
    "memory",
];
/// More nodes than this in one pool are a typing error.
const MOST_NODES: u32 = 5_000;
/// More GPUs than this in one node are a typing error.
const MOST_GPUS: u32 = 64;
const PROVISION: Duration = Duration::from_secs(180);

/// A taint that every node of a pool carries.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PoolTaint {
    /// Key.
    pub key: String,
    /// Value, may be empty.
    pub value: String,
    /// `NoSchedule`, `PreferNoSchedule` or `NoExecute`.
    pub effect: String,
}

impl fmt::Display for PoolTaint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}={}:{}", self.key, self.value, self.effect)
    }
}

/// A node pool.
#[derive(Clone, Debug, PartialEq)]
pub struct Pool {
    /// Name, e.g. `gpunp`.
    pub name: String,
    /// Virtual machine size, "" where only amounts are given.
    pub sku: String,
    /// vCPUs of a node.
    pub cpus: u32,
    /// Memory of a node in GiB.
    pub memory: u32,
    /// GPUs of a node.
    pub gpus: u32,
    /// Model of the GPUs, "" without.
    pub gpu_model: String,
    /// Memory of one GPU in GiB.
    pub gpu_memory: u32,
    /// Fewest nodes.
    pub min: u32,
    /// Most nodes.
    pub max: u32,
    /// Nodes at the start.
    pub count: u32,
    /// US dollars an hour for a node.
    pub price: f64,
    /// Taints of its nodes.
    pub taints: Vec<PoolTaint>,
    /// Labels of its nodes beside those that every node has.
    pub labels: BTreeMap<String, String>,
    /// From the order of a node to its appearance.
    pub provision: Duration,
}

impl fmt::Display for Pool {
    /// As `--pool` takes it, amounts spelled out.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "name={}", self.name)?;
        if !self.sku.is_empty() {
            write!(f, ",sku={}", self.sku)?;
        }
        write!(
            f,
            ",gpus={},min={},max={},count={},price={},provision={}s",
            self.gpus,
            self.min,
            self.max,
            self.count,
            self.price,
            self.provision.as_secs()
        )?;
        self.taints
            .iter()
            .try_for_each(|taint| write!(f, ",taint={taint}"))
    }
}

/// What is wrong with a pool's description.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("--pool number {position}: {problem}")]
pub struct PoolError {
    /// Which `--pool` it is, counted from 1.
    pub position: usize,
    /// What is wrong and what would be right.
    pub problem: String,
}

impl Pool {
    /// Reads `name=…,sku=…,…`; `position` says which `--pool` it is, from 1.
    pub fn parse(text: &str, position: usize) -> Result<Self, PoolError> {
        Self::read(text).map_err(|problem| PoolError { position, problem })
    }

    /// Reads several descriptions and refuses two pools of one name.
    pub fn parse_all<S: AsRef<str>>(texts: &[S]) -> Result<Vec<Self>, PoolError> {
        let mut pools: Vec<Self> = Vec::new();
        for (i, text) in texts.iter().enumerate() {
            let pool = Self::parse(text.as_ref(), i + 1)?;
            if pools.iter().any(|p| p.name == pool.name) {
                let problem = format!("there is a pool \"{}\" already", pool.name);
                return Err(PoolError {
                    position: i + 1,
                    problem,
                });
            }
            pools.push(pool);
        }
        Ok(pools)
    }

    /// The article's cluster: two CPU nodes, and a pool of H100 nodes at zero.
    pub fn defaults() -> Vec<Self> {
        [
            "name=nodepool1,sku=Standard_D4s_v5,count=2",
            "name=gpunp,sku=Standard_NC40ads_H100_v5,min=0,max=3,count=0,taint=sku=gpu:NoSchedule",
        ]
        .iter()
        .enumerate()
        .map(|(i, text)| Self::parse(text, i + 1).expect("the built-in pools are valid"))
        .collect()
    }

    /// Whether its size may change.
    pub fn scales(&self) -> bool {
        self.min < self.max
    }

    fn read(text: &str) -> Result<Self, String> {
        let mut fields: BTreeMap<&str, &str> = BTreeMap::new();
        let mut taints = Vec::new();
        let mut labels = BTreeMap::new();
        for (at, part) in text.split(',').enumerate() {
            let part = part.trim();
            let Some((key, value)) = part.split_once('=') else {
                let at = at + 1;
                return Err(format!("part {at} \"{part}\" is not KEY=VALUE"));
            };
            let (key, value) = (key.trim(), value.trim());
            match key {
                "taint" => taints.push(taint(value)?),
                "label" => {
                    let Some((name, value)) = value.split_once('=') else {
                        return Err(format!("label=\"{value}\" is not NAME=VALUE"));
                    };
                    labels.insert(name.to_owned(), value.to_owned());
                }
                _ if !KEYS.contains(&key) => return Err(unknown(key)),
                _ => {
                    if fields.insert(key, value).is_some() {
                        return Err(format!("key \"{key}\" is given twice"));
                    }
                }
            }
        }
        let name = fields
            .get("name")
            .copied()
            .ok_or("key \"name\" is missing: name=gpunp")?;
        check_name(name)?;
        let sku = match fields.get("sku") {
            Some(sku) => Some(Sku::find(sku).ok_or_else(|| unknown_sku(sku))?),
            None => None,
        };
        let number = |key: &str, most: u32| -> Result<Option<u32>, String> {
            let Some(text) = fields.get(key) else {
                return Ok(None);
            };
            let wrong = || format!("{key}=\"{text}\" is not a whole number from 0 to {most}");
            text.parse()
                .ok()
                .filter(|n| *n <= most)
                .ok_or_else(wrong)
                .map(Some)
        };
        if sku.is_none() && !fields.contains_key("gpus") && !fields.contains_key("cpu") {
            return Err(
                "say what a node is: sku=Standard_NC40ads_H100_v5, or gpus=1, or cpu=8".to_owned(),
            );
        }
        let gpus = number("gpus", MOST_GPUS)?.unwrap_or(sku.map_or(0, |s| s.gpus));
        let (min, max) = (number("min", MOST_NODES)?, number("max", MOST_NODES)?);
        let count = number("count", MOST_NODES)?;
        // Without limits a pool has a fixed size; with one, the other is at its end.
        let (min, max, count) = match (min, max) {
            (None, None) => {
                let fixed = count.unwrap_or(1);
                (fixed, fixed, fixed)
            }
            (min, max) => {
                let min = min.unwrap_or(0);
                let count = count.unwrap_or(min);
                (min, max.unwrap_or(min.max(count)), count)
            }
        };
        if min > max {
            return Err(format!("min={min} is above max={max}"));
        }
        if !(min..=max).contains(&count) {
            return Err(format!("count={count} is outside min={min} and max={max}"));
        }
        Ok(Self {
            name: name.to_owned(),
            sku: sku.map_or("", |s| s.name).to_owned(),
            cpus: number("cpu", 4_096)?.unwrap_or(sku.map_or(16, |s| s.cpus)),
            memory: number("memory", 65_536)?.unwrap_or(sku.map_or(64, |s| s.memory)),
            gpus,
            gpu_model: match sku.map_or("", |s| s.gpu_model) {
                "" if gpus > 0 => "NVIDIA H100 NVL".to_owned(),
                model => model.to_owned(),
            },
            gpu_memory: sku.map(|s| s.gpu_memory).filter(|m| *m > 0).unwrap_or(94),
            min,
            max,
            count,
            price: price(&fields, sku)?,
            taints,
            labels,
            provision: match fields.get("provision") {
                None => PROVISION,
                Some(text) => provision(text)?,
            },
        })
    }
}

fn price(fields: &BTreeMap<&str, &str>, sku: Option<&Sku>) -> Result<f64, String> {
    let Some(text) = fields.get("price") else {
        return Ok(sku.map_or(0.0, |s| s.price));
    };
    let wrong = || format!("price=\"{text}\" is not a number of dollars an hour such as 6.98");
    text.parse()
        .ok()
        .filter(|p: &f64| p.is_finite() && *p >= 0.0)
        .ok_or_else(wrong)
}

fn provision(text: &str) -> Result<Duration, String> {
    let wrong = || format!("provision=\"{text}\" is not a duration such as 180s or 3m");
    if let Ok(seconds) = text.parse::<u32>() {
        return Ok(Duration::from_secs(seconds.into()));
    }
    if text.starts_with('-') {
        return Err(wrong());
    }
    GoDuration::parse(text)
        .map(GoDuration::to_std)
        .map_err(|_| wrong())
}

fn taint(text: &str) -> Result<PoolTaint, String> {
    let wrong = || format!("taint=\"{text}\" is not KEY=VALUE:EFFECT such as sku=gpu:NoSchedule");
    let (rest, effect) = text.rsplit_once(':').ok_or_else(wrong)?;
    if !["NoSchedule", "PreferNoSchedule", "NoExecute"].contains(&effect) {
        return Err(format!(
            "taint=\"{text}\": effect \"{effect}\" is none of NoSchedule, PreferNoSchedule, \
             NoExecute"
        ));
    }
    let (key, value) = rest.split_once('=').unwrap_or((rest, ""));
    if key.is_empty() {
        return Err(wrong());
    }
    Ok(PoolTaint {
        key: key.to_owned(),
        value: value.to_owned(),
        effect: effect.to_owned(),
    })
}

/// The name becomes part of node names.
fn check_name(name: &str) -> Result<(), String> {
    let fine = name.len() <= 30
        && name.starts_with(|c: char| c.is_ascii_lowercase())
        && name
            .chars()
            .all(|c| c.is_ascii_lowercase() || c.is_ascii_digit());
    if fine {
        return Ok(());
    }
    Err(format!(
        "name=\"{name}\" must be 1 to 30 lower-case letters and digits and start with a letter"
    ))
}

fn unknown(key: &str) -> String {
    let near = nearest(key, KEYS.iter().copied()).map_or("", |(near, _)| near);
    format!(
        "unknown key \"{key}\", did you mean \"{near}\"? Keys: {}",
        KEYS.join(", ")
    )
}

fn unknown_sku(name: &str) -> String {
    let near = nearest(name, SKUS.iter().map(|s| s.name)).map_or("", |(near, _)| near);
    format!(
        "unknown sku \"{name}\", did you mean \"{near}\"? For another size leave sku out and \
         give cpu, memory, gpus and price"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_default_pools_are_the_articles_cluster() {
        let pools = Pool::defaults();
        assert_eq!((pools[0].name.as_str(), pools[0].count), ("nodepool1", 2));
        assert!(!pools[0].scales());
        let gpu = &pools[1];
        assert_eq!((gpu.gpus, gpu.min, gpu.max, gpu.count), (1, 0, 3, 0));
        assert_eq!(gpu.taints[0].to_string(), "sku=gpu:NoSchedule");
        assert_eq!((gpu.price, gpu.provision), (6.98, Duration::from_secs(180)));
    }

    #[test]
    fn amounts_replace_those_of_the_size() {
        let text = "name=big,sku=standard_nd96isr_h100_v5,gpus=4,max=10,price=50,\
                    taint=a=b:NoExecute,taint=c:NoSchedule,label=team=ml,provision=2m30s";
        let pool = Pool::parse(text, 1).unwrap();
        assert_eq!(
            (pool.gpus, pool.cpus, pool.max, pool.price),
            (4, 96, 10, 50.0)
        );
        assert_eq!(pool.taints[1].to_string(), "c=:NoSchedule");
        assert_eq!(pool.labels["team"], "ml");
        assert_eq!(pool.provision, Duration::from_secs(150));
    }

    #[test]
    fn an_error_names_the_flag_the_key_and_the_cure() {
        let error = |text| Pool::parse(text, 2).unwrap_err().to_string();
        assert_eq!(
            error("name=a,skus=x"),
            "--pool number 2: unknown key \"skus\", did you mean \"sku\"? Keys: name, sku, gpus, \
             min, max, count, price, taint, provision, label, cpu, memory"
        );
        assert!(
            error("name=a,sku=Standard_NC40ads_H100_v4").contains("\"Standard_NC40ads_H100_v5\"?")
        );
        assert!(error("name=a,gpus=1,min=4,max=3").ends_with("min=4 is above max=3"));
        assert!(error("name=a,gpus=1,max=3,count=9").contains("count=9 is outside"));
        assert!(error("name=a,gpus=-1").contains("whole number from 0 to 64"));
        assert!(error("name=a").contains("say what a node is"));
        assert!(error("gpus=1").contains("\"name\" is missing"));
        assert!(error("name=a,gpus=1,gpus=2").contains("given twice"));
        assert!(error("name=a,gpus=1,taint=x=y:Never").contains("none of NoSchedule"));
        assert!(error("name=A-b,gpus=1").contains("lower-case"));
        assert!(error("name").contains("part 1 \"name\" is not KEY=VALUE"));
        assert!(error("name=a,gpus=1,provision=soon").contains("180s or 3m"));
        let twice = Pool::parse_all(&["name=a,gpus=1", "name=a,gpus=1"]).unwrap_err();
        assert_eq!(
            twice.to_string(),
            "--pool number 2: there is a pool \"a\" already"
        );
    }
}
