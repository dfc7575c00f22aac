//! Page tokens: where the next page begins, sealed.
//!
//! A token may hold the key of a record that the caller is not shown (pages also end after looking at many hidden rows), so it is encrypted; it is bound to
//! the department and to the question, so that it opens for nothing else; a change of one bit makes it invalid. Nothing else is in it: permission is
//! judged anew for every page. Any node of the exchange opens it.

use std::fmt;

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use ring::{
    aead::{Aad, CHACHA20_POLY1305, LessSafeKey, NONCE_LEN, Nonce, UnboundKey},
    digest::{Context, Digest, SHA256},
    error::Unspecified,
    hmac,
    rand::{SecureRandom, SystemRandom},
};

use super::{Action, Error, Identity, RowCondition};

/// A token holds at most a dataset's id and a key.
const TOKEN_BYTES_MAX: usize = 1_200;

/// What could not be sealed.
#[derive(Clone, Copy, Debug, thiserror::Error)]
#[error("a page token could not be made")]
struct Unsealed;

/// Seals and opens tokens. `Debug` does not show it.
#[derive(Clone)]
pub struct PageKey([u8; 32]);

impl fmt::Debug for PageKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("PageKey")
    }
}

impl PageKey {
    /// From a secret that every node of the exchange has. It may serve other keyed functions of the exchange too: each derives under a label of its own.
    pub fn new(secret: &[u8; 32]) -> Self {
        let derived = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, secret), b"shuqiao page token key v1\0");
        let mut key = [0; 32];
        key.copy_from_slice(derived.as_ref());
        Self(key)
    }

    fn key(&self) -> Result<LessSafeKey, Unspecified> {
        UnboundKey::new(&CHACHA20_POLY1305, &self.0).map(LessSafeKey::new)
    }

    /// Seals where the next page begins.
    pub(super) fn seal(&self, binding: &Binding, place: &[u8]) -> Result<String, Error> {
        let failed = |_| Error::internal(Unsealed);
        // Random nonces of 96 bits: after 2^32 tokens a repeat is still less likely than one in 2^32.
        let mut nonce = [0; NONCE_LEN];
        SystemRandom::new().fill(&mut nonce).map_err(failed)?;
        let mut sealed = place.to_vec();
        let aad = Aad::from(binding.finish());
        let key = self.key().map_err(failed)?;
        key.seal_in_place_append_tag(Nonce::assume_unique_for_key(nonce), aad, &mut sealed).map_err(failed)?;
        Ok(URL_SAFE_NO_PAD.encode([nonce.as_slice(), &sealed].concat()))
    }

    /// Where the page begins; `None` for the first page.
    pub(super) fn open(&self, binding: &Binding, token: &str) -> Result<Option<Vec<u8>>, Error> {
        if token.is_empty() {
            return Ok(None);
        }
        let mut bytes = Some(token)
            .filter(|token| token.len() <= TOKEN_BYTES_MAX)
            .and_then(|token| URL_SAFE_NO_PAD.decode(token).ok());
        let opened = bytes.as_mut().and_then(|bytes| {
            let (nonce, sealed) = bytes.split_first_chunk_mut::<NONCE_LEN>()?;
            let nonce = Nonce::assume_unique_for_key(*nonce);
            self.key().ok()?.open_in_place(nonce, Aad::from(binding.finish()), sealed).ok()
        });
        opened.map(|place| Some(place.to_vec())).ok_or_else(foreign)
    }
}

fn foreign() -> Error {
    let (en, zh) =
        ("not a page token of this question: begin with the first page", "不是本次查询的分页标记，请从首页开始");
    Error::invalid("page_token", "NOT_OF_THIS_QUERY", en, zh)
}

/// The question that a token belongs to, as a digest.
#[derive(Clone)]
pub(super) struct Binding(Context);

impl Binding {
    pub(super) fn new(action: Action, caller: &Identity, purpose: &str) -> Self {
        Self(Context::new(&SHA256)).text(action.as_str()).text(caller.department.as_str()).text(purpose)
    }

    /// Adds a text with its length, so that no two questions share an input.
    pub(super) fn text(mut self, text: &str) -> Self {
        self.0.update(&text.len().to_be_bytes());
        self.0.update(text.as_bytes());
        self
    }

    pub(super) fn conditions(self, conditions: &[RowCondition]) -> Self {
        conditions.iter().fold(self.text(&conditions.len().to_string()), |binding, condition| {
            let head = binding.text(&condition.field).text(&condition.values.len().to_string());
            condition.values.iter().fold(head, |binding, value| binding.text(value))
        })
    }

    fn finish(&self) -> Digest {
        self.0.clone().finish()
    }
}

/// A place that is a key.
pub(super) fn text(place: Vec<u8>) -> Result<String, Error> {
    String::from_utf8(place).map_err(|_| foreign())
}

/// A place that is an offset.
pub(super) fn offset(place: &[u8]) -> Result<u64, Error> {
    place.try_into().map(u64::from_be_bytes).map_err(|_| foreign())
}

/// A place in several datasets: the dataset, and the key if it is not at its beginning.
pub(super) fn join(dataset: &str, after: Option<&str>) -> Vec<u8> {
    match after {
        Some(key) => [dataset.as_bytes(), b"\0", key.as_bytes()].concat(),
        None => dataset.as_bytes().to_vec(),
    }
}

/// Takes [`join`] apart: an id holds no NUL.
pub(super) fn split(place: Vec<u8>) -> Result<(String, Option<std::sync::Arc<str>>), Error> {
    let place = text(place)?;
    Ok(match place.split_once('\0') {
        Some((dataset, key)) => (dataset.to_owned(), Some(key.into())),
        None => (place, None),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::exchange::catalogue::fixtures::system;

    fn binding(department: &str, text: &str) -> Binding {
        Binding::new(Action::ListRecords, &system(department), "核查").text(text)
    }

    #[test]
    fn a_token_opens_for_its_question_alone_and_hides_its_place() {
        let key = PageKey::new(&[5; 32]);
        let token = key.seal(&binding("taxation", "a.b"), "91320600MA1MXXXX0K".as_bytes()).unwrap();
        assert!(!token.contains("91320600"));
        assert_eq!(key.open(&binding("taxation", "a.b"), &token).unwrap().unwrap(), b"91320600MA1MXXXX0K");
        // Another node with the same secret continues.
        assert!(PageKey::new(&[5; 32]).open(&binding("taxation", "a.b"), &token).is_ok());
        assert_eq!(key.open(&binding("taxation", "a.b"), "").unwrap(), None);
        for (other, why) in [(binding("taxation", "a.c"), "dataset"), (binding("civil-affairs", "a.b"), "department")] {
            assert!(key.open(&other, &token).is_err(), "another {why}");
        }
        assert!(PageKey::new(&[6; 32]).open(&binding("taxation", "a.b"), &token).is_err());
    }

    #[test]
    fn a_token_that_was_changed_anywhere_is_refused() {
        let key = PageKey::new(&[5; 32]);
        let bytes = URL_SAFE_NO_PAD.decode(key.seal(&binding("taxation", "a.b"), b"k").unwrap()).unwrap();
        for at in 0..bytes.len() {
            let mut changed = bytes.clone();
            changed[at] ^= 1;
            let opened = key.open(&binding("taxation", "a.b"), &URL_SAFE_NO_PAD.encode(changed));
            let Err(Error::InvalidField(violations)) = opened else { panic!("bit {at} was changed unseen") };
            assert_eq!((violations[0].path.as_str(), violations[0].rule.as_str()), ("page_token", "NOT_OF_THIS_QUERY"));
        }
        for foreign in ["a", "%%%", &"A".repeat(TOKEN_BYTES_MAX + 1), &URL_SAFE_NO_PAD.encode([0; NONCE_LEN])] {
            assert!(key.open(&binding("taxation", "a.b"), foreign).is_err());
        }
    }

    #[test]
    fn the_secret_is_never_shown() {
        assert_eq!(format!("{:?}", PageKey::new(&[5; 32])), "PageKey");
    }
}
