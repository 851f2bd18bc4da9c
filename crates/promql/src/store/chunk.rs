//! Compressed runs of samples: delta-of-delta times and XORed values, bit patterns kept.

/// A sealed, immutable run of samples.
#[derive(Clone, Debug)]
pub(crate) struct Chunk {
    pub(crate) min_t: i64,
    pub(crate) max_t: i64,
    count: u32,
    data: Box<[u8]>,
}

#[derive(Default)]
struct BitWriter {
    bytes: Vec<u8>,
    free: u32,
}

impl BitWriter {
    fn bits(&mut self, value: u64, mut n: u32) {
        while n > 0 {
            if self.free == 0 {
                self.bytes.push(0);
                self.free = 8;
            }
            let take = n.min(self.free);
            let part = ((value >> (n - take)) & ((1u64 << take) - 1)) as u8;
            if let Some(last) = self.bytes.last_mut() {
                *last |= part << (self.free - take);
            }
            self.free -= take;
            n -= take;
        }
    }
}

struct BitReader<'a> {
    bytes: &'a [u8],
    pos: usize,
}

impl BitReader<'_> {
    fn bits(&mut self, n: u32) -> u64 {
        let mut out = 0u64;
        let mut left = n;
        while left > 0 {
            let avail = 8 - (self.pos % 8) as u32;
            let take = left.min(avail);
            let byte = self.bytes.get(self.pos / 8).copied().unwrap_or(0);
            let part = (u64::from(byte) >> (avail - take)) & ((1u64 << take) - 1);
            // A full 64-bit read shifts by at most 8 at a time, so no bits are lost.
            out = (out << take) | part;
            self.pos += take as usize;
            left -= take;
        }
        out
    }
}

const TIME_SIZES: [u32; 3] = [12, 18, 24];

impl Chunk {
    /// Compresses samples in time order; `None` for an empty slice.
    pub(crate) fn seal(samples: &[(i64, f64)]) -> Option<Self> {
        let (&(t0, v0), rest) = samples.split_first()?;
        let mut w = BitWriter::default();
        w.bits(v0.to_bits(), 64);
        let (mut t, mut delta, mut value) = (t0, 0i64, v0.to_bits());
        let (mut lead, mut len) = (0u32, 0u32);
        for &(ts, v) in rest {
            let d = ts.wrapping_sub(t);
            let dod = d.wrapping_sub(delta);
            (t, delta) = (ts, d);
            if dod == 0 {
                w.bits(0, 1);
            } else {
                let fits = TIME_SIZES.iter().position(|&n| {
                    let half = 1i64 << (n - 1);
                    dod >= -half && dod < half
                });
                match fits {
                    Some(i) => {
                        w.bits((1 << (i + 2)) - 2, i as u32 + 2);
                        w.bits(dod as u64, TIME_SIZES[i]);
                    }
                    None => {
                        w.bits(0b1111, 4);
                        w.bits(dod as u64, 64);
                    }
                }
            }
            let xor = v.to_bits() ^ value;
            value = v.to_bits();
            if xor == 0 {
                w.bits(0, 1);
                continue;
            }
            let (l, tr) = (xor.leading_zeros().min(31), xor.trailing_zeros());
            let reuse = len > 0 && l >= lead && tr >= 64 - lead - len;
            if reuse {
                w.bits(0b10, 2);
            } else {
                (lead, len) = (l, 64 - l - tr);
                w.bits(0b11, 2);
                w.bits(u64::from(lead), 5);
                w.bits(u64::from(len - 1), 6);
            }
            w.bits(xor >> (64 - lead - len), len);
        }
        Some(Self {
            min_t: t0,
            max_t: t,
            count: samples.len() as u32,
            data: w.bytes.into_boxed_slice(),
        })
    }

    /// Appends the samples with `mint <= t <= maxt` to `out`.
    pub(crate) fn read(&self, mint: i64, maxt: i64, out: &mut Vec<(i64, f64)>) {
        let mut r = BitReader {
            bytes: &self.data,
            pos: 0,
        };
        let mut value = r.bits(64);
        let (mut t, mut delta) = (self.min_t, 0i64);
        let (mut lead, mut len) = (0u32, 0u32);
        for i in 0..self.count {
            if i > 0 {
                let dod = read_time(&mut r);
                delta = delta.wrapping_add(dod);
                t = t.wrapping_add(delta);
                if r.bits(1) == 1 {
                    if r.bits(1) == 1 {
                        lead = r.bits(5) as u32;
                        len = r.bits(6) as u32 + 1;
                    }
                    value ^= r.bits(len) << (64 - lead - len);
                }
            }
            if t > maxt {
                return;
            }
            if t >= mint {
                out.push((t, f64::from_bits(value)));
            }
        }
    }

    /// Bytes held by the compressed samples.
    pub(crate) fn size(&self) -> usize {
        self.data.len() + std::mem::size_of::<Self>()
    }

    pub(crate) fn count(&self) -> usize {
        self.count as usize
    }
}

fn read_time(r: &mut BitReader<'_>) -> i64 {
    let mut ones = 0;
    while ones < 4 && r.bits(1) == 1 {
        ones += 1;
    }
    match ones {
        0 => 0,
        4 => r.bits(64) as i64,
        n => {
            let size = TIME_SIZES[n - 1];
            let raw = r.bits(size);
            ((raw << (64 - size)) as i64) >> (64 - size)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::number::stale_nan;

    #[test]
    fn samples_survive_compression_bit_for_bit() {
        let mut samples: Vec<(i64, f64)> = Vec::new();
        let mut t = -5_000;
        for i in 0..400i64 {
            t += match i % 7 {
                0 => 5_003,
                1 => 1,
                2 => 4_000_000_000,
                _ => 5_000,
            };
            let v = match i % 5 {
                0 => stale_nan(),
                1 => f64::NAN,
                2 => i as f64 * 0.1,
                3 => -1e300,
                _ => 42.0,
            };
            samples.push((t, v));
        }
        let c = Chunk::seal(&samples).unwrap();
        let mut out = Vec::new();
        c.read(i64::MIN, i64::MAX, &mut out);
        assert_eq!(out.len(), samples.len());
        for (a, b) in out.iter().zip(&samples) {
            assert_eq!((a.0, a.1.to_bits()), (b.0, b.1.to_bits()));
        }
        out.clear();
        c.read(samples[10].0, samples[20].0, &mut out);
        assert_eq!(out.len(), 11);
    }

    #[test]
    fn a_steady_gauge_takes_under_a_byte_per_sample() {
        let samples: Vec<(i64, f64)> = (0..120).map(|i| (i * 5_000, 30.0)).collect();
        assert!(Chunk::seal(&samples).unwrap().data.len() < 60);
    }
}
