//! Envelope encryption: each blob is encrypted with AES-256-GCM under its own key, and that key under a master key.
//!
//! Erasing the wrapped key erases the blob. Sealed bytes are `version (1) | nonce (12) | ciphertext | tag (16)`. The
//! place is authenticated with them, so that blobs cannot be swapped.

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use ring::aead::{AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use ring::hkdf::{HKDF_SHA256, Prk, Salt};
use ring::rand::{SecureRandom as _, SystemRandom};

use super::Error;

const VERSION: u8 = 1;
const KEY_LEN: usize = 32;
/// The salt of the key derivation. It need not be secret.
const SALT: &[u8] = b"visavis";

/// A blob's key, encrypted under a master key. It is worthless without the master key.
#[derive(Clone, PartialEq, Eq)]
pub struct WrappedKey {
    pub master_key_id: String,
    pub wrapped: Vec<u8>,
}

/// The master keys by name. The first one seals, all of them open.
pub struct Keyring {
    keys: Vec<MasterKey>,
    random: SystemRandom,
}

struct MasterKey {
    name: String,
    aead: LessSafeKey,
    /// The key from which further keys are derived (RFC 5869).
    root: Prk,
}

impl Keyring {
    /// Reads `name:base64[,name:base64...]`, each key 32 bytes.
    ///
    /// # Errors
    /// When the text has another form. The message never quotes the text.
    pub fn parse(text: &str) -> Result<Self, Error> {
        let mut keys = Vec::new();
        for (index, part) in text.split(',').map(str::trim).enumerate() {
            let wrong = |why: &str| Error::Master(format!("entry {} {why}", index + 1));
            let (name, key) = part.split_once(':').ok_or_else(|| wrong("is not name:base64"))?;
            let key = BASE64_STANDARD.decode(key).map_err(|_| wrong("is not valid Base64"))?;
            if name.is_empty() || keys.iter().any(|other: &MasterKey| other.name == name) {
                return Err(wrong("needs a name of its own"));
            }
            let aead = aead_key(&key).ok_or_else(|| wrong("is not 32 bytes long"))?;
            let root = Salt::new(HKDF_SHA256, SALT).extract(&key);
            keys.push(MasterKey { name: name.to_owned(), aead, root });
        }
        Ok(Self { keys, random: SystemRandom::new() })
    }

    /// Seals `plain` for `place` under a new key.
    ///
    /// # Errors
    /// When there is no master key, or the system gives no random bytes.
    pub fn seal(&self, place: &str, plain: &[u8]) -> Result<(Vec<u8>, WrappedKey), Error> {
        let master = self.keys.first().ok_or_else(|| Error::Master("there is none".to_owned()))?;
        let mut key = [0; KEY_LEN];
        self.fill(&mut key)?;
        let sealed = self.seal_under(&aead_key(&key).ok_or(Error::Altered)?, place, plain)?;
        let wrapped = self.seal_under(&master.aead, place, &key)?;
        Ok((sealed, WrappedKey { master_key_id: master.name.clone(), wrapped }))
    }

    /// Opens what [`Keyring::seal`] sealed for the same place.
    ///
    /// # Errors
    /// When the master key is gone, or the bytes were altered or sealed for another place.
    pub fn open(&self, place: &str, key: &WrappedKey, sealed: Vec<u8>) -> Result<Vec<u8>, Error> {
        let master = self
            .keys
            .iter()
            .find(|master| master.name == key.master_key_id)
            .ok_or_else(|| Error::UnknownMasterKey(key.master_key_id.clone()))?;
        let key = open_under(&master.aead, place, key.wrapped.clone())?;
        open_under(&aead_key(&key).ok_or(Error::Altered)?, place, sealed)
    }

    /// Derives a key of 32 bytes for `purpose` from each master key, in their order. A derived key reveals nothing
    /// about the others.
    pub(super) fn derive(&self, purpose: &str) -> Result<Vec<[u8; KEY_LEN]>, Error> {
        let derive = |master: &MasterKey| {
            let mut key = [0; KEY_LEN];
            // Fails only for keys longer than 255 hashes.
            let filled = master.root.expand(&[purpose.as_bytes()], HKDF_SHA256).and_then(|okm| okm.fill(&mut key));
            filled.map(|()| key).map_err(|_| Error::Master("no key can be derived".to_owned()))
        };
        self.keys.iter().map(derive).collect()
    }

    fn seal_under(&self, key: &LessSafeKey, place: &str, plain: &[u8]) -> Result<Vec<u8>, Error> {
        let mut nonce = [0; NONCE_LEN];
        self.fill(&mut nonce)?;
        let mut sealed = Vec::with_capacity(1 + NONCE_LEN + plain.len() + AES_256_GCM.tag_len());
        sealed.push(VERSION);
        sealed.extend_from_slice(&nonce);
        sealed.extend_from_slice(plain);
        let tag = key
            .seal_in_place_separate_tag(
                Nonce::assume_unique_for_key(nonce),
                Aad::from(place.as_bytes()),
                &mut sealed[1 + NONCE_LEN..],
            )
            .map_err(|_| Error::Altered)?;
        sealed.extend_from_slice(tag.as_ref());
        Ok(sealed)
    }

    fn fill(&self, bytes: &mut [u8]) -> Result<(), Error> {
        self.random.fill(bytes).map_err(|_| Error::Master("the system gives no random bytes".to_owned()))
    }
}

fn open_under(key: &LessSafeKey, place: &str, mut sealed: Vec<u8>) -> Result<Vec<u8>, Error> {
    let (version, rest) = sealed.split_first_mut().ok_or(Error::Altered)?;
    let (nonce, cipher) = rest.split_at_mut_checked(NONCE_LEN).ok_or(Error::Altered)?;
    let nonce = Nonce::try_assume_unique_for_key(nonce).map_err(|_| Error::Altered)?;
    if *version != VERSION {
        return Err(Error::Altered);
    }
    let length = key.open_in_place(nonce, Aad::from(place.as_bytes()), cipher).map_err(|_| Error::Altered)?.len();
    sealed.drain(..=NONCE_LEN);
    sealed.truncate(length);
    Ok(sealed)
}

fn aead_key(bytes: &[u8]) -> Option<LessSafeKey> {
    UnboundKey::new(&AES_256_GCM, bytes).ok().map(LessSafeKey::new)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn keyring(names: &[&str]) -> Keyring {
        let entry = |name: &&str| format!("{name}:{}", BASE64_STANDARD.encode([name.as_bytes()[0]; 32]));
        Keyring::parse(&names.iter().map(entry).collect::<Vec<_>>().join(",")).unwrap()
    }

    #[test]
    fn what_was_sealed_opens_and_does_not_show_the_plain_bytes() {
        let (sealed, key) = keyring(&["a"]).seal("here", b"a face, a face").unwrap();
        assert!(!sealed.windows(6).any(|window| window == b"a face"));
        assert_eq!(keyring(&["a"]).open("here", &key, sealed).unwrap(), b"a face, a face");
    }

    #[test]
    fn each_blob_has_a_key_of_its_own() {
        let keys = keyring(&["a"]);
        let (first, one) = keys.seal("here", b"same").unwrap();
        let (second, two) = keys.seal("here", b"same").unwrap();
        assert_ne!(first, second);
        assert!(keys.open("here", &two, first).is_err());
        assert!(keys.open("here", &one, second).is_err());
    }

    #[test]
    fn a_new_master_key_in_front_leaves_old_blobs_readable() {
        let (sealed, key) = keyring(&["a"]).seal("here", b"old").unwrap();
        assert_eq!(keyring(&["b", "a"]).open("here", &key, sealed.clone()).unwrap(), b"old");
        assert!(matches!(keyring(&["b"]).open("here", &key, sealed), Err(Error::UnknownMasterKey(_))));
    }

    #[test]
    fn any_changed_byte_another_place_or_a_cut_is_noticed() {
        let keys = keyring(&["a"]);
        let (sealed, key) = keys.seal("here", b"x").unwrap();
        assert!(keys.open("there", &key, sealed.clone()).is_err());
        for index in 0..sealed.len() {
            let mut altered = sealed.clone();
            altered[index] ^= 1;
            assert!(keys.open("here", &key, altered).is_err(), "byte {index}");
            assert!(keys.open("here", &key, sealed[..index].to_vec()).is_err(), "cut at {index}");
        }
    }

    #[test]
    fn derived_keys_differ_by_purpose_and_master_key_and_are_always_the_same() {
        let derived = keyring(&["a", "b"]).derive("one").unwrap();
        assert_eq!(derived, keyring(&["a", "b"]).derive("one").unwrap());
        assert_ne!(derived[0], derived[1]);
        assert_ne!(derived, keyring(&["a", "b"]).derive("two").unwrap());
        assert_ne!(derived[0], [b'a'; KEY_LEN]);
    }

    #[test]
    fn malformed_master_keys_are_refused_without_quoting_them() {
        for text in ["", "a", "a:!!", "a:AAAA", ":AAAA"] {
            let error = Keyring::parse(text).err().unwrap().to_string();
            assert!(error.contains("entry 1") && !error.contains("AAAA"), "{error}");
        }
    }
}
