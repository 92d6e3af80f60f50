//! Measures who passes a liveness challenge: `cargo bench --bench challenge -- LIST.csv [EVERY]`. It measures no time.
//!
//! From each photo it renders heads that answer challenges, and sheets of paper that are moved, tilted, bent and
//! brought closer to answer them. It prints the table of `docs/understand/challenges.md`. The list has a column `image`
//! with paths relative to it; only every `EVERY`th photo is used. Without a list, it uses the photos of
//! `tests/photos`.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::print_stdout,
    dead_code,
    unused_imports,
    reason = "a program for developers"
)]

use std::path::{Path, PathBuf};

use visavis::domain::action::Action;
use visavis::domain::challenge::{DEFAULT_LENGTH, draw};
use visavis::domain::evidence::Mode;
use visavis::domain::motion::{MotionLimits, Parallax, actions, is_answer};
use visavis::vision::pipeline::Analyse as _;
use visavis::vision::{Analysis, Pack, Params, Pass, Pipeline, Runtime, motion};

#[path = "../tests/it/support"]
mod support {
    pub mod renderer;
    pub mod spoilt;
}

use renderer::Noise;
use support::renderer::{Attack, Manner, Subject, jpeg, performed, resized};
use support::spoilt::Shot;

/// Challenges that each photo answers.
const CHALLENGES: u64 = 2;
/// Most pixels between the eyes: as a phone records at arm's length.
const INTER_EYE: f64 = 80.0;

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).filter(|argument| argument != "--bench").collect();
    let root = PathBuf::from(env!("CARGO_MANIFEST_DIR"));
    let every = arguments.get(1).map_or(1, |every| every.parse().expect("EVERY is a number"));
    let photos: Vec<PathBuf> = match arguments.first() {
        None => ["obama.jpg", "obama2.jpg", "biden.jpg", "astronaut.png"]
            .map(|name| root.join("tests/photos").join(name))
            .into(),
        Some(list) => listed(Path::new(list)).into_iter().step_by(every).collect(),
    };
    let library = std::env::var_os("VISAVIS_ONNXRUNTIME").map(PathBuf::from);
    let library = library.unwrap_or_else(|| root.join(".local/lib/libonnxruntime.so"));
    let pack = Pack::load(&root.join("models")).unwrap();
    let mut pipeline = Pipeline::open(&pack, &Runtime::load(&library).unwrap(), Params::default()).unwrap();

    let mut tallies = vec![("head".to_owned(), Tally::default())];
    tallies.extend(Attack::ALL.map(|attack| (format!("sheet, {attack:?}").to_lowercase(), Tally::default())));
    for (number, path) in (0..).zip(&photos) {
        let Some(shot) = Shot::of(&mut pipeline, &std::fs::read(path).unwrap()) else { continue };
        let shot = if shot.inter_eye() > INTER_EYE { resized(&mut pipeline, &shot, INTER_EYE) } else { Some(shot) };
        let Some(shot) = shot else { continue };
        let (head, sheet) = (Subject::head(&shot.picture, &shot.face), Subject::sheet(&shot.picture, &shot.face));
        for challenge in 0..CHALLENGES {
            let mut noise = Noise(number * CHALLENGES + challenge);
            #[expect(
                clippy::cast_possible_truncation,
                clippy::cast_sign_loss,
                clippy::cast_precision_loss,
                reason = "a die"
            )]
            let asked = draw(DEFAULT_LENGTH, Action::USUAL, |n| (share(&mut noise) * n as f64) as usize);
            let manner = Manner {
                turn: 24.0 + 8.0 * share(&mut noise),
                nod: 16.0 + 6.0 * share(&mut noise),
                hold: 2,
                tremor: 2.0,
            };
            let poses = performed(&asked, &manner, number);
            tallies[0].1.count(&mut pipeline, &asked, poses.iter().map(|pose| jpeg(&head.frame(pose))));
            for (attack, (_, tally)) in Attack::ALL.iter().zip(&mut tallies[1..]) {
                let poses = attack.poses(&asked, share(&mut noise), number);
                tally.count(&mut pipeline, &asked, poses.iter().map(|pose| jpeg(&sheet.frame(pose))));
            }
        }
    }
    println!("                sequences   solid  actions   both   nose shift  unexplained  protrusion (5, 50, 95 %)");
    for (name, tally) in &mut tallies {
        tally.print(name);
    }
}

/// A pseudo-random number in [0, 1).
fn share(noise: &mut Noise) -> f64 {
    f64::midpoint(noise.draw(), 1.0).min(0.999_999)
}

fn listed(list: &Path) -> Vec<PathBuf> {
    let folder = list.parent().unwrap();
    let mut rows = csv::Reader::from_path(list).unwrap();
    let column =
        rows.headers().unwrap().iter().position(|header| header == "image").expect("the list has a column `image`");
    rows.records().map(|row| folder.join(&row.unwrap()[column])).collect()
}

#[derive(Default)]
struct Tally {
    solid: usize,
    answered: usize,
    passed: usize,
    depths: Vec<Parallax>,
}

impl Tally {
    fn count(&mut self, pipeline: &mut Pipeline, asked: &[Action], files: impl Iterator<Item = Vec<u8>>) {
        let frames: Vec<Option<Analysis>> =
            files.map(|file| pipeline.analyse(&file, Mode::Fast, &mut Pass::default()).ok()).collect();
        let limits = MotionLimits::default();
        let depth = motion::parallax(&frames).unwrap_or_default();
        let is_answered = is_answer(&actions(&motion::frame_measures(&frames), &limits), asked);
        self.solid += usize::from(depth.is_solid(&limits));
        self.answered += usize::from(is_answered);
        self.passed += usize::from(is_answered && depth.is_solid(&limits));
        self.depths.push(depth);
    }

    fn print(&self, name: &str) {
        let n = self.depths.len();
        #[expect(clippy::cast_precision_loss, reason = "a few hundred")]
        let share = |count: usize| 100.0 * count as f64 / n as f64;
        let figures = [
            |depth: &Parallax| depth.nose_shift,
            |depth: &Parallax| depth.unexplained,
            |depth: &Parallax| depth.protrusion,
        ];
        let figures = figures.map(|figure| {
            let mut values: Vec<f64> = self.depths.iter().map(figure).collect();
            values.sort_by(f64::total_cmp);
            [5, 50, 95].map(|share| format!("{:.2}", values[(n - 1) * share / 100])).join(" ")
        });
        println!(
            "{name:16}{n:8}{:9.1}{:9.1}{:8.1}   {}",
            share(self.solid),
            share(self.answered),
            share(self.passed),
            figures.join("   ")
        );
    }
}
