//! A keyed perceptual hash, which recognises a picture that is sent again. Nearly equal pictures have nearly equal
//! hashes. Without the key nobody can make a hash, or see that two organisations sent the same picture.
//!
//! Each bit is the sign of a projection of the picture's coarse luminance onto a random direction, which the key draws
//! (M. Charikar, "Similarity estimation techniques from rounding algorithms", STOC 2002). Two pictures at an angle of t
//! differ in a share of t/pi of their bits.

use super::ids::TenantId;
use super::pepper::{HashPurpose, Pepper};

/// The number of cells of a picture: 16 x 16, each with its mean luminance.
pub const CELLS: usize = 256;
const BYTES: usize = 32;
const PARTS: usize = 8;
/// The most bits in which two hashes of one picture may differ. Measured on 197 photos (LFW), each saved again six
/// times at qualities of 30 to 90 and at 40 to 100 % of its size: all 1,182 copies differ in at most 10 bits, 99 % in
/// at most 6. No pair of the 19,306 pairs of different photos differs in fewer than 21. Two frames of a video in which
/// nobody moves count as one picture, too.
const ALIKE: u32 = 10;

/// The hash of one picture for one organisation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PerceptualHash([u8; BYTES]);

impl PerceptualHash {
    /// Hashes a picture's cells. `None` for a picture of one colour, which would be like any other.
    #[must_use]
    pub fn of(cells: &[f32; CELLS], pepper: &Pepper, tenant: TenantId) -> Option<Self> {
        #[expect(clippy::cast_precision_loss, reason = "256")]
        let mean = cells.iter().sum::<f32>() / CELLS as f32;
        if cells.iter().all(|cell| (cell - mean).abs() <= mean.abs() / 100.0) {
            return None;
        }
        let mut hash = [0; BYTES];
        for bit in 0..CELLS {
            let signs = pepper.digest(HashPurpose::PerceptualHash, &[tenant.0.as_bytes(), &bit.to_be_bytes()]);
            let mut projection = 0.0;
            for (at, cell) in cells.iter().enumerate() {
                let is_set = signs.get(at / 8).is_some_and(|byte| (byte >> (at % 8)) & 1 == 1);
                projection += if is_set { cell - mean } else { mean - cell };
            }
            hash[bit / 8] |= u8::from(projection > 0.0) << (bit % 8);
        }
        Some(Self(hash))
    }

    /// A hash read from the database. `None` when it has another length.
    #[must_use]
    pub fn from_stored(bytes: &[u8]) -> Option<Self> {
        bytes.try_into().ok().map(Self)
    }

    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// Whether both are hashes of one picture, which may have been saved again or scaled.
    #[must_use]
    pub fn is_like(&self, other: &Self) -> bool {
        let differing: u32 = self.0.iter().zip(other.0).map(|(a, b)| (a ^ b).count_ones()).sum();
        differing <= ALIKE
    }

    /// Keyed hashes of the eight parts, by which the database finds similar hashes. Two hashes that differ in few bits
    /// have an equal part: of pairs that differ in eight bits, all but one in 400.
    #[must_use]
    pub fn parts(&self, pepper: &Pepper, tenant: TenantId) -> Vec<i64> {
        let part = |(at, bytes): (usize, &[u8])| {
            let digest =
                pepper.digest(HashPurpose::PerceptualHash, &[tenant.0.as_bytes(), b"part", &at.to_be_bytes(), bytes]);
            digest.first_chunk().map_or(0, |start| i64::from_be_bytes(*start))
        };
        self.0.chunks(BYTES / PARTS).enumerate().map(part).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use base64::Engine as _;
    use base64::prelude::BASE64_STANDARD;
    use uuid::Uuid;

    fn pepper(byte: u8) -> Pepper {
        Pepper::parse(&BASE64_STANDARD.encode([byte; 32])).unwrap()
    }

    /// Cells whose luminances follow from `seed`, in [0, 100).
    fn cells(seed: u64) -> [f32; CELLS] {
        let mut state = seed;
        std::array::from_fn(|_| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            f32::from(u16::try_from(state >> 48).unwrap()) / 656.0
        })
    }

    const TENANT: TenantId = TenantId(Uuid::from_u128(1));

    #[test]
    fn a_picture_is_recognised_with_more_light_and_a_little_noise_and_another_is_not_taken_for_it() {
        let pepper = pepper(1);
        let hash = |cells: &[f32; CELLS]| PerceptualHash::of(cells, &pepper, TENANT).unwrap();
        let (own, noise, mut changed) = (cells(1), cells(2), cells(1));
        for (cell, noise) in changed.iter_mut().zip(noise) {
            *cell = 1.4 * *cell + 20.0 + (noise - 50.0) / 25.0;
        }
        assert!(hash(&own).is_like(&hash(&changed)) && !hash(&own).is_like(&hash(&noise)));
        let (parts, others) = (hash(&own).parts(&pepper, TENANT), hash(&changed).parts(&pepper, TENANT));
        assert_eq!(parts.len(), 8);
        assert!(parts.iter().any(|part| others.contains(part)));
        assert!(!parts.iter().any(|part| hash(&noise).parts(&pepper, TENANT).contains(part)));
    }

    #[test]
    fn hashes_of_two_organisations_and_under_two_keys_have_nothing_in_common() {
        let other = TenantId(Uuid::from_u128(2));
        let own = PerceptualHash::of(&cells(1), &pepper(1), TENANT).unwrap();
        for (pepper, tenant) in [(pepper(1), other), (pepper(2), TENANT)] {
            let theirs = PerceptualHash::of(&cells(1), &pepper, tenant).unwrap();
            assert!(!own.is_like(&theirs));
            assert!(!own.parts(&pepper, TENANT).iter().any(|part| own.parts(&pepper, other).contains(part)));
        }
    }

    #[test]
    fn a_picture_of_one_colour_has_no_hash() {
        assert_eq!(PerceptualHash::of(&[0.0; CELLS], &pepper(1), TENANT), None);
        assert_eq!(PerceptualHash::of(&[99.5; CELLS], &pepper(1), TENANT), None);
    }
}
