//! Takes one picture through all stages on one thread: decode, detect, landmarks, align, embed.

use super::analysis::Analysis;
use super::compare::Scorers;
use super::decode::{decode_reduced, metadata};
use super::embed::{Embedder, EmbedderSpec};
use super::face::Face;
use super::fault::{Error, RuntimeFault};
use super::finder::Finder;
use super::geometry::Rect;
use super::liveness::LivenessTester;
use super::network::Network;
use super::pack::Pack;
use super::params::Params;
use super::pass::{Pass, timed};
use super::picture::Picture;
use super::quality;
use super::scene::Scene;
use super::session::Runtime;
use super::template::Template;
use super::view::View;
use visavis_domain::evidence::{Liveness, Mode};
use visavis_domain::provenance::Provenance;

/// Analyses pictures on one thread: a [`Pipeline`], or a fake in tests of the engine.
pub trait Analyse {
    /// Analyses the file `image`.
    ///
    /// # Errors
    /// When the image or the machine is at fault, or the pass ends early.
    fn analyse(&mut self, image: &[u8], mode: Mode, pass: &mut Pass<'_>) -> Result<Analysis, Error>;

    /// Tests whether `face` is a living person's. An analysis of the same file must have found it. `None` without a
    /// liveness network.
    ///
    /// # Errors
    /// As [`Analyse::analyse`].
    fn liveness(&mut self, _image: &[u8], _face: &Face, _pass: &mut Pass<'_>) -> Result<Option<Liveness>, Error> {
        Ok(None)
    }

    /// Runs every network once, so that the first caller does not wait for lazy allocations.
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
        let embedder =
            |network: &Network<EmbedderSpec>| Ok(Embedder::new(network.open(runtime)?, network.spec.clone()));
        Ok(Self {
            params,
            finder: Finder::open(pack, runtime, params)?,
            embedders: pack.embedders().iter().map(embedder).collect::<Result<_, RuntimeFault>>()?,
            scorers: pack.scorers().clone(),
            liveness: pack.liveness().map(|liveness| liveness.open(runtime)).transpose()?,
        })
    }

    /// Decodes the file at the smallest scale that suffices for the face that will be compared, and finds its faces.
    fn find_faces(&mut self, image: &[u8], pass: &mut Pass<'_>) -> Result<(View, Vec<Face>), Error> {
        let mut long_side = self.params.first_side;
        loop {
            pass.checkpoint()?;
            let picture = timed(&mut pass.timings.decode, || decode_reduced(image, &self.params.decode, long_side))?;
            let found = self.finder.find(&picture, pass)?;
            let Some(larger) = self.params.side_needed(&picture, found.faces.first()) else {
                let faces = self.finder.refine(found, &picture, pass)?;
                return Ok((picture, faces));
            };
            long_side = larger;
        }
    }

    /// The template of `face`; `None` when its five points coincide, which happens for no real face.
    fn template(
        &mut self,
        picture: &View,
        face: &Face,
        mode: Mode,
        pass: &mut Pass<'_>,
    ) -> Result<Option<Template>, Error> {
        let mut template = Template::default();
        let scorer = self.scorers.of(mode);
        for embedder in &mut self.embedders {
            let Some(part) = scorer.part(embedder.name()) else { continue };
            pass.checkpoint()?;
            let chip = timed(&mut pass.timings.align, || embedder.spec().align(picture, &face.five_points));
            let Some(chip) = chip else { return Ok(None) };
            let embedding = timed(&mut pass.timings.embed, || embedder.embed(&chip))?;
            if part.mirrored {
                pass.checkpoint()?;
                let mirrored = timed(&mut pass.timings.embed, || embedder.embed(&chip.mirrored()))?;
                template.insert_mean(embedder.name(), embedding, mirrored);
            } else {
                template.insert(embedder.name(), embedding);
            }
        }
        Ok(Some(template))
    }
}

impl Analyse for Pipeline {
    fn analyse(&mut self, image: &[u8], mode: Mode, pass: &mut Pass<'_>) -> Result<Analysis, Error> {
        let (picture, faces) = self.find_faces(image, pass)?;
        let template = match faces.first() {
            Some(first) => self.template(&picture, first, mode, pass)?,
            None => None,
        };
        let primary = template.as_ref().map(|_| 0);
        pass.checkpoint()?;
        let quality = timed(&mut pass.timings.quality, || quality::measure(&picture, &faces, primary?));
        let scene = timed(&mut pass.timings.quality, || Scene::of(picture.held()));
        let provenance = timed(&mut pass.timings.quality, || Provenance::read(&metadata(image, &self.params.decode)));
        let (width, height) = (picture.width(), picture.height());
        let timings = pass.timings;
        Ok(Analysis { width, height, faces, primary, template, quality, provenance, scene, timings })
    }

    fn liveness(&mut self, image: &[u8], face: &Face, pass: &mut Pass<'_>) -> Result<Option<Liveness>, Error> {
        let Some(tester) = &mut self.liveness else { return Ok(None) };
        pass.checkpoint()?;
        let picture = decode_reduced(image, &self.params.decode, face.decoded_side)?;
        pass.checkpoint()?;
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
