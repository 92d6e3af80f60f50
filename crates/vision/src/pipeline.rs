//! One picture through all stages, on one thread: decode, detect, landmarks, align, embed.

use super::Error;
use super::compare::Scorers;
use super::decode::{decode_reduced, metadata};
use super::embed::{Embedder, EmbedderSpec};
use super::face::Face;
use super::finder::Finder;
use super::geometry::Rect;
use super::liveness::LivenessTester;
use super::model::RuntimeFault;
use super::network::Network;
use super::pack::Pack;
use super::params::Params;
use super::picture::Picture;
use super::quality;
use super::scene::Scene;
use super::session::Runtime;
use super::template::Template;
use super::timings::{Timings, timed};
use super::view::View;
use visavis_domain::evidence::{Liveness, Mode};
use visavis_domain::provenance::Provenance;
use visavis_domain::quality::Quality;

/// What a picture shows.
#[derive(Debug, Clone)]
pub struct Analysis {
    /// Pixels across, once upright.
    pub width: usize,
    /// Pixels down, once upright.
    pub height: usize,
    /// All faces, the most prominent first: large and in full view.
    pub faces: Vec<Face>,
    /// Index in `faces` of the one that `template` is of; `None` when the picture shows no usable face.
    pub primary: Option<usize>,
    /// Present exactly when `primary` is.
    pub template: Option<Template>,
    /// How well the primary face was captured.
    pub quality: Option<Quality>,
    /// What the file says of its making, where that was not by a camera.
    pub provenance: Option<Provenance>,
    /// All of the picture, coarsely.
    pub scene: Scene,
    /// Time spent.
    pub timings: Timings,
}

impl Analysis {
    /// The face that the template is of.
    #[must_use]
    pub fn primary_face(&self) -> Option<&Face> {
        self.primary.and_then(|i| self.faces.get(i))
    }
}

/// Something that analyses pictures on one thread: a [`Pipeline`], or a fake in tests of the engine.
pub trait Analyse {
    /// Analyses the file `image`. `checkpoint` is asked before each stage whether to go on.
    ///
    /// # Errors
    /// When the image or the machine is at fault, or `checkpoint` says so.
    fn analyse(
        &mut self,
        image: &[u8],
        mode: Mode,
        checkpoint: &dyn Fn() -> Result<(), Error>,
    ) -> Result<Analysis, Error>;

    /// Tests whether the face, which an analysis of the same file found, is a living person's; `None` without a network
    /// for it.
    ///
    /// # Errors
    /// As [`Analyse::analyse`].
    fn liveness(
        &mut self,
        _image: &[u8],
        _face: &Face,
        _checkpoint: &dyn Fn() -> Result<(), Error>,
    ) -> Result<Option<Liveness>, Error> {
        Ok(None)
    }

    /// Runs every network once, so that the first caller does not pay for lazy allocations.
    ///
    /// # Errors
    /// When a network fails.
    fn warm_up(&mut self) -> Result<(), RuntimeFault> {
        Ok(())
    }
}

/// The stages with their sessions. Not shared between threads.
pub struct Pipeline {
    params: Params,
    finder: Finder,
    embedders: Vec<Embedder>,
    scorers: Scorers,
    liveness: Option<LivenessTester>,
}

impl Pipeline {
    /// Opens a session for each network of `pack`.
    ///
    /// # Errors
    /// When a network does not load or does not fit the code.
    pub fn open(pack: &Pack, runtime: &Runtime, params: Params) -> Result<Self, RuntimeFault> {
        let embedder = |n: &Network<EmbedderSpec>| Ok(Embedder::new(n.open(runtime)?, n.spec.clone()));
        Ok(Self {
            params,
            finder: Finder::open(pack, runtime, params)?,
            embedders: pack.embedders().iter().map(embedder).collect::<Result<_, RuntimeFault>>()?,
            scorers: pack.scorers().clone(),
            liveness: pack.liveness().map(|it| it.open(runtime)).transpose()?,
        })
    }

    /// Decodes the file, at the smallest scale that suffices for the face that will be compared, and finds its faces.
    fn look(
        &mut self,
        image: &[u8],
        timings: &mut Timings,
        checkpoint: &dyn Fn() -> Result<(), Error>,
    ) -> Result<(View, Vec<Face>), Error> {
        let mut long_side = self.params.first_side;
        loop {
            checkpoint()?;
            let picture = timed(&mut timings.decode, || decode_reduced(image, &self.params.decode, long_side))?;
            let found = self.finder.find(&picture, timings, checkpoint)?;
            let Some(more) = self.params.side_needed(&picture, found.faces.first()) else {
                let faces = self.finder.look_closer(found, &picture, timings, checkpoint)?;
                return Ok((picture, faces));
            };
            long_side = more;
        }
    }

    /// `None` when the five points coincide, which no face's do.
    fn template(
        &mut self,
        picture: &View,
        face: &Face,
        mode: Mode,
        timings: &mut Timings,
        checkpoint: &dyn Fn() -> Result<(), Error>,
    ) -> Result<Option<Template>, Error> {
        let mut template = Template::default();
        let scorer = self.scorers.of(mode);
        for embedder in &mut self.embedders {
            let Some(part) = scorer.part(embedder.name()) else { continue };
            checkpoint()?;
            let chip = timed(&mut timings.align, || embedder.spec().align(picture, &face.five_points));
            let Some(chip) = chip else { return Ok(None) };
            let embedding = timed(&mut timings.embed, || embedder.embed(&chip))?;
            if part.mirrored {
                checkpoint()?;
                let mirrored = timed(&mut timings.embed, || embedder.embed(&chip.mirrored()))?;
                template.insert_mean(embedder.name(), embedding, mirrored);
            } else {
                template.insert(embedder.name(), embedding);
            }
        }
        Ok(Some(template))
    }
}

impl Analyse for Pipeline {
    fn analyse(
        &mut self,
        image: &[u8],
        mode: Mode,
        checkpoint: &dyn Fn() -> Result<(), Error>,
    ) -> Result<Analysis, Error> {
        let mut timings = Timings::default();
        let (picture, faces) = self.look(image, &mut timings, checkpoint)?;
        let template = match faces.first() {
            Some(first) => self.template(&picture, first, mode, &mut timings, checkpoint)?,
            None => None,
        };
        let primary = template.as_ref().map(|_| 0);
        checkpoint()?;
        let quality = timed(&mut timings.quality, || quality::measure(&picture, &faces, primary?));
        let scene = timed(&mut timings.quality, || Scene::of(picture.held()));
        let provenance = timed(&mut timings.quality, || Provenance::read(&metadata(image, &self.params.decode)));
        let (width, height) = (picture.width(), picture.height());
        Ok(Analysis { width, height, faces, primary, template, quality, provenance, scene, timings })
    }

    fn liveness(
        &mut self,
        image: &[u8],
        face: &Face,
        checkpoint: &dyn Fn() -> Result<(), Error>,
    ) -> Result<Option<Liveness>, Error> {
        let Some(tester) = &mut self.liveness else { return Ok(None) };
        checkpoint()?;
        let picture = decode_reduced(image, &self.params.decode, face.decoded_side)?;
        checkpoint()?;
        Ok(Some(tester.test(&picture, face)?))
    }

    fn warm_up(&mut self) -> Result<(), RuntimeFault> {
        let picture = Picture::black(64, 64);
        if let Some(tester) = &mut self.liveness {
            tester.test_box(&picture, Rect { left: 24.0, top: 24.0, right: 40.0, bottom: 40.0 })?;
        }
        self.finder.warm_up(&picture.into())?;
        for embedder in &mut self.embedders {
            let side = embedder.spec().input.side;
            embedder.embed(&Picture::black(side, side))?;
        }
        Ok(())
    }
}
