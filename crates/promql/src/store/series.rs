//! One series: an open run of recent samples and sealed chunks behind it.

use super::AppendError;
use super::chunk::Chunk;
use crate::labels::Labels;
use std::collections::VecDeque;

const CHUNK_SAMPLES: usize = 120;

pub(super) struct Series {
    pub(super) labels: Labels,
    sealed: VecDeque<Chunk>,
    open: Vec<(i64, f64)>,
}

impl Series {
    pub(super) fn new(labels: Labels) -> Self {
        Self {
            labels,
            sealed: VecDeque::new(),
            open: Vec::new(),
        }
    }

    pub(super) fn newest_t(&self) -> Option<i64> {
        self.open
            .last()
            .map(|p| p.0)
            .or_else(|| self.sealed.back().map(|c| c.max_t))
    }

    pub(super) fn newest_value(&self) -> Option<f64> {
        self.open.last().map(|p| p.1)
    }

    pub(super) fn oldest_t(&self) -> Option<i64> {
        self.sealed
            .front()
            .map(|c| c.min_t)
            .or_else(|| self.open.first().map(|p| p.0))
    }

    /// Adds a sample; the answer is the number of bytes newly taken by compressed samples.
    pub(super) fn append(&mut self, t: i64, v: f64) -> Result<usize, AppendError> {
        if let Some(&(last, value)) = self.open.last() {
            if t < last {
                return Err(AppendError::OutOfOrder);
            }
            if t == last {
                let same = value.to_bits() == v.to_bits();
                return if same {
                    Ok(0)
                } else {
                    Err(AppendError::Duplicate)
                };
            }
        }
        let mut sealed = 0;
        if self.open.len() >= CHUNK_SAMPLES {
            // The newest sample stays open, so that the order check always finds it there.
            let keep = self.open.len() - 1;
            if let Some(chunk) = Chunk::seal(&self.open[..keep]) {
                sealed = chunk.size();
                self.sealed.push_back(chunk);
            }
            self.open.drain(..keep);
        }
        self.open.push((t, v));
        Ok(sealed)
    }

    pub(super) fn drop_before(&mut self, oldest: i64) {
        while self.sealed.front().is_some_and(|c| c.max_t < oldest) {
            self.sealed.pop_front();
        }
    }

    pub(super) fn overlaps(&self, mint: i64, maxt: i64) -> bool {
        matches!((self.oldest_t(), self.newest_t()), (Some(a), Some(b)) if a <= maxt && b >= mint)
    }

    pub(super) fn read(&self, mint: i64, maxt: i64) -> Vec<(i64, f64)> {
        let mut out = Vec::new();
        let first = self.sealed.partition_point(|c| c.max_t < mint);
        for c in self.sealed.iter().skip(first) {
            if c.min_t > maxt {
                return out;
            }
            c.read(mint, maxt, &mut out);
        }
        let a = self.open.partition_point(|p| p.0 < mint);
        let b = self.open.partition_point(|p| p.0 <= maxt);
        if a < b {
            out.extend_from_slice(&self.open[a..b]);
        }
        out
    }

    pub(super) fn newest_in(&self, mint: i64, maxt: i64) -> Option<(i64, f64)> {
        let i = self.open.partition_point(|p| p.0 <= maxt);
        if i > 0 {
            return Some(self.open[i - 1]).filter(|p| p.0 >= mint);
        }
        let i = self.sealed.partition_point(|c| c.min_t <= maxt);
        let chunk = self.sealed.get(i.checked_sub(1)?)?;
        if chunk.max_t < mint {
            return None;
        }
        let mut out = Vec::new();
        chunk.read(mint, maxt, &mut out);
        out.last().copied()
    }

    pub(super) fn samples(&self) -> usize {
        self.open.len() + self.sealed.iter().map(Chunk::count).sum::<usize>()
    }

    pub(super) fn sealed_bytes(&self) -> usize {
        self.sealed.iter().map(Chunk::size).sum()
    }

    pub(super) fn bytes(&self) -> usize {
        self.open.capacity() * 16 + self.sealed_bytes()
    }
}
