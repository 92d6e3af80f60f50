//! The scores of all pairs of a list.

use crate::vision::RuntimeFault;
use crate::vision::compare::Scorer;

use super::analyses::Analysed;
use super::list::{List, Pairs};

/// The raw score of one pair.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Scored {
    pub score: f32,
    /// Indices of the list's pictures.
    pub images: (u32, u32),
    /// Numbers of the people that they show; 0 where the list does not say.
    pub people: (u32, u32),
}

/// The scores of all pairs in which both pictures show a face.
#[derive(Debug, Clone, Default)]
pub struct Scores {
    /// Pairs of one person.
    pub genuine: Vec<Scored>,
    /// Pairs of two people.
    pub impostor: Vec<Scored>,
    /// The number of usable pictures of each person; `None` where the list has no identities.
    pub images_by_person: Option<Vec<u32>>,
    /// Pairs that could not be compared, because a picture shows no usable face.
    pub skipped: u64,
    /// The group of each listed pair or picture: see [`GroupOf`].
    pub groups: Option<GroupOf>,
}

/// Which group a pair belongs to.
#[derive(Debug, Clone)]
pub enum GroupOf {
    /// By pair.
    Pairs(std::collections::HashMap<(u32, u32), String>),
    /// By picture: a pair belongs to a group when both of its pictures do.
    Images(Vec<String>),
}

impl GroupOf {
    /// The group of a pair, if it has one.
    #[must_use]
    pub fn of(&self, (a, b): (u32, u32)) -> Option<&str> {
        let group = match self {
            Self::Pairs(groups) => groups.get(&(a, b)).map(String::as_str),
            Self::Images(groups) => {
                let (a, b) = (groups.get(a as usize)?, groups.get(b as usize)?);
                (a == b).then_some(a.as_str())
            }
        };
        group.filter(|group| !group.is_empty())
    }
}

impl Scores {
    /// Compares the pairs of `list`. `analysed` has its pictures in the same order.
    ///
    /// # Errors
    /// When a template lacks the embedding of a network that the scorer uses.
    pub fn of(list: &List, analysed: &[Analysed], by: &Scorer) -> Result<Self, RuntimeFault> {
        let mut scores = Self::default();
        let template = |image: u32| analysed.get(image as usize).and_then(|picture| picture.template.as_ref());
        let add = |scores: &mut Self, images: (u32, u32), people: (u32, u32), same: bool| {
            let (Some(a), Some(b)) = (template(images.0), template(images.1)) else {
                scores.skipped += 1;
                return Ok(());
            };
            #[expect(clippy::cast_possible_truncation, reason = "a sum of cosines")]
            let score = by.compare(a, b)?.raw.get() as f32;
            let side = if same { &mut scores.genuine } else { &mut scores.impostor };
            side.push(Scored { score, images, people });
            Ok(())
        };
        match &list.pairs {
            Pairs::Listed(pairs) => {
                for pair in pairs {
                    add(&mut scores, (pair.a, pair.b), (0, 0), pair.same)?;
                }
                if pairs.iter().any(|pair| pair.group.is_some()) {
                    let groups =
                        pairs.iter().filter_map(|pair| Some(((pair.a, pair.b), pair.group.clone()?))).collect();
                    scores.groups = Some(GroupOf::Pairs(groups));
                }
            }
            Pairs::Crossed { identities, groups } => {
                for (a, person_a) in (0_u32..).zip(identities) {
                    for (b, person_b) in (0_u32..).zip(identities).take(a as usize) {
                        add(&mut scores, (b, a), (*person_b, *person_a), person_a == person_b)?;
                    }
                }
                let people = identities.iter().max().map_or(0, |person| *person as usize + 1);
                let mut images = vec![0; people];
                for (image, person) in (0_u32..).zip(identities) {
                    images[*person as usize] += u32::from(template(image).is_some());
                }
                scores.images_by_person = Some(images);
                scores.groups = groups.clone().map(GroupOf::Images);
            }
        }
        Ok(scores)
    }
}
