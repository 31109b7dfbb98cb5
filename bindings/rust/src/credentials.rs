//! Certificates, the trust file and key files: what a client shows, and whom it believes.
//!
//! Owns the reading and checking of these files. It never opens a socket, and believes nothing that
//! is not signed by the authority: the comments of a file are for people. Times are Unix seconds.

use std::fs;
use std::ops::RangeInclusive;
use std::path::Path;
use std::time::{SystemTime, UNIX_EPOCH};

use base64::engine::general_purpose::STANDARD;
use base64::Engine;
use crypto_secretbox::aead::Aead;
use crypto_secretbox::{KeyInit, XSalsa20Poly1305};
use ed25519_dalek::{Signature, VerifyingKey};
use rmpv::Value;

use crate::error::{Error, Result};
use crate::wire::bytes;

const CERTIFICATE_BYTES_MAX: u64 = 4096;
const TRUST_BYTES_MAX: u64 = 64 * 1024;
const SIGNATURE_BYTES: usize = 64;
const NONCE_BYTES: usize = 24;

type Key = [u8; 32];

/// Who the client is, and whom it trusts. Read once: after an authority or the servers' key was
/// replaced, read them anew and make a new client.
#[derive(Clone)]
pub struct Credentials {
    pub(crate) server_keys: Vec<Key>,
    pub(crate) public_key: Key,
    pub(crate) secret_key: Key,
    /// The file's text, as `present` wants it.
    pub(crate) certificate: Vec<u8>,
}

impl Credentials {
    /// Reads the three files; the key must not be locked. All errors are `Rejected` with the code
    /// `credentials`, and say what to do.
    pub fn read(
        trust: impl AsRef<Path>,
        certificate: impl AsRef<Path>,
        key: impl AsRef<Path>,
    ) -> Result<Self> {
        Self::read_locked(trust, certificate, key, "")
    }

    /// The same, where `passphrase` may be needed to unlock the key.
    pub fn read_locked(
        trust: impl AsRef<Path>,
        certificate: impl AsRef<Path>,
        key: impl AsRef<Path>,
        passphrase: &str,
    ) -> Result<Self> {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |it| it.as_secs());
        let trust = read(trust.as_ref(), TRUST_BYTES_MAX)?;
        let (authority, server_keys) = trusted(&trust, now).map_err(named("The trust file"))?;
        let certificate = read(certificate.as_ref(), CERTIFICATE_BYTES_MAX)?;
        let own = presentable(&certificate, &authority, now).map_err(named("The certificate"))?;
        let key = key.as_ref();
        private(key)?;
        let text = read(key, TRUST_BYTES_MAX)?;
        let secret_key = secret(&text, passphrase).map_err(named(&key.display().to_string()))?;
        if x25519_dalek::x25519(secret_key, x25519_dalek::X25519_BASEPOINT_BYTES) != own.curve_key {
            return Err(refusal(format!("{} is not the certificate's key.", key.display())));
        }
        Ok(Credentials { server_keys, public_key: own.curve_key, secret_key, certificate })
    }
}

struct Certificate {
    curve_key: Key,
    role: String,
    valid: RangeInclusive<u64>,
    serial: u64,
}

fn refusal(words: impl Into<String>) -> Error {
    Error::rejected("credentials", words)
}

/// Why a text is refused: the words, to follow the name of the file.
type Refused<T> = std::result::Result<T, &'static str>;

const DAMAGED: &str = "it is damaged. Copy it again from where it was made.";

fn named(file: &str) -> impl Fn(&'static str) -> Error + '_ {
    move |words| refusal(format!("{file}: {words}"))
}

fn read(path: &Path, bytes_max: u64) -> Result<Vec<u8>> {
    let text = fs::read(path)
        .map_err(|error| refusal(format!("Cannot read {}: {error}.", path.display())))?;
    if text.len() as u64 > bytes_max {
        return Err(refusal(format!("{} is too long to be what it should be.", path.display())));
    }
    Ok(text)
}

#[cfg(unix)]
fn private(path: &Path) -> Result<()> {
    use std::os::unix::fs::PermissionsExt;
    let open = fs::metadata(path).is_ok_and(|it| it.permissions().mode() & 0o077 != 0);
    let path = path.display();
    match open {
        true => Err(refusal(format!("Others can read {path}. Run: chmod 600 {path}"))),
        false => Ok(()),
    }
}

#[cfg(not(unix))]
fn private(_: &Path) -> Result<()> {
    Ok(())
}

/// Label and bytes of every block.
fn blocks(text: &[u8]) -> Refused<Vec<(String, Vec<u8>)>> {
    let text = String::from_utf8_lossy(text);
    let mut rest: &str = &text;
    let mut found = Vec::new();
    while let Some((_, after)) = rest.split_once("-----BEGIN ") {
        let (label, after) = after.split_once("-----").ok_or(DAMAGED)?;
        let end = format!("-----END {label}-----");
        let (base64, after) = after.split_once(&end).ok_or(DAMAGED)?;
        let base64: String = base64.split_whitespace().collect();
        found.push((label.to_string(), STANDARD.decode(base64).map_err(|_| DAMAGED)?));
        rest = after;
    }
    Ok(found)
}

/// The fields behind the version in an array of `N + 1`.
fn fields<const N: usize>(mut body: &[u8]) -> Refused<[Value; N]> {
    let value = rmpv::decode::read_value_with_max_depth(&mut body, 16).map_err(|_| DAMAGED)?;
    let Value::Array(mut array) = value else {
        return Err(DAMAGED);
    };
    if array.first().and_then(Value::as_u64) != Some(1) {
        return Err(DAMAGED);
    }
    array.remove(0);
    array.try_into().map_err(|_| DAMAGED)
}

fn key(value: Value) -> Refused<Key> {
    bytes(value).and_then(|it| it.try_into().ok()).ok_or(DAMAGED)
}

fn int(value: &Value) -> Refused<u64> {
    value.as_u64().ok_or(DAMAGED)
}

/// What was signed, if it was.
fn signed<'a>(block: &'a [u8], purpose: &[u8], signer: &Key) -> Refused<&'a [u8]> {
    let (signature, body) = block.split_at_checked(SIGNATURE_BYTES).ok_or(DAMAGED)?;
    let signature = Signature::from_slice(signature).map_err(|_| DAMAGED)?;
    let signer = VerifyingKey::from_bytes(signer).map_err(|_| DAMAGED)?;
    match signer.verify_strict(&[purpose, body].concat(), &signature) {
        Ok(()) => Ok(body),
        Err(_) => Err("a signature does not fit: it is another authority's, or damaged."),
    }
}

/// The authority proves its own block: the key is in the body that it signs.
fn authority(block: &[u8], now: u64) -> Refused<Key> {
    let [signer, from, to] = fields(block.get(SIGNATURE_BYTES..).ok_or(DAMAGED)?)?;
    let signer = key(signer)?;
    signed(block, b"dkv authority 1\0", &signer)?;
    match (int(&from)?..=int(&to)?).contains(&now) {
        true => Ok(signer),
        false => Err("its authority is not valid now. Check this machine's clock."),
    }
}

fn certificate(block: &[u8], authority: &Key) -> Refused<Certificate> {
    let body = signed(block, b"dkv certificate 1\0", authority)?;
    let [_name, curve_key, role, from, to, serial] = fields(body)?;
    Ok(Certificate {
        curve_key: key(curve_key)?,
        role: role.as_str().ok_or(DAMAGED)?.to_string(),
        valid: int(&from)?..=int(&to)?,
        serial: int(&serial)?,
    })
}

/// The authority, and the Curve keys of its servers, newest first.
fn trusted(text: &[u8], now: u64) -> Refused<(Key, Vec<Key>)> {
    let blocks = blocks(text)?;
    let of = |wanted: &'static str| blocks.iter().filter(move |(label, _)| label == wanted);
    let (Some((_, first)), 1) = (of("DKV AUTHORITY").next(), of("DKV AUTHORITY").count()) else {
        return Err("it must have exactly one block DKV AUTHORITY.");
    };
    let authority = authority(first, now)?;
    let mut servers = Vec::new();
    for (_, block) in of("DKV CERTIFICATE") {
        let server = certificate(block, &authority)?;
        if server.role == "server" && server.valid.contains(&now) {
            servers.push(server);
        }
    }
    if servers.is_empty() {
        return Err("it has no server certificate that is valid now.");
    }
    servers.sort_by_key(|it| std::cmp::Reverse(it.serial));
    Ok((authority, servers.iter().map(|it| it.curve_key).collect()))
}

/// The one certificate of a text, such as a client may show.
fn presentable(text: &[u8], authority: &Key, now: u64) -> Refused<Certificate> {
    let blocks = blocks(text)?;
    let [(label, block)] = blocks.as_slice() else {
        return Err("it must have exactly one block DKV CERTIFICATE.");
    };
    if label != "DKV CERTIFICATE" {
        return Err("it must have exactly one block DKV CERTIFICATE.");
    }
    let own = certificate(block, authority)?;
    if now < *own.valid.start() {
        return Err("it is not valid yet. Check this machine's clock.");
    }
    if now > *own.valid.end() {
        return Err("it has expired. Ask for a new one.");
    }
    match own.role.as_str() {
        "node" | "server" => Err("it is not a client's. Use one made for a client."),
        _ => Ok(own),
    }
}

/// The secret key in a key file's text.
fn secret(text: &[u8], passphrase: &str) -> Refused<Key> {
    let blocks = blocks(text)?;
    let [(label, block)] = blocks.as_slice() else {
        return Err("it is not a key file: it must have one block DKV SECRET KEY.");
    };
    if label != "DKV SECRET KEY" {
        return Err("it is not a key file: it must have one block DKV SECRET KEY.");
    }
    let [kind, ops, memory, salt, sealed] = fields(block)?;
    if kind.as_str() != Some("curve") {
        return Err("it is not a client's key.");
    }
    match int(&ops)? {
        0 => key(sealed),
        ops => unlock(ops, int(&memory)?, salt, sealed, passphrase),
    }
}

fn unlock(ops: u64, memory: u64, salt: Value, sealed: Value, passphrase: &str) -> Refused<Key> {
    if passphrase.is_empty() {
        return Err("it is locked. Give its passphrase.");
    }
    let (salt, sealed) = bytes(salt).zip(bytes(sealed)).ok_or(DAMAGED)?;
    let (nonce, sealed) = sealed.split_at_checked(NONCE_BYTES).ok_or(DAMAGED)?;
    let (Ok(ops), Ok(blocks)) = (u32::try_from(ops), u32::try_from(memory / 1024)) else {
        return Err(DAMAGED);
    };
    let cost = argon2::Params::new(blocks, ops, 1, Some(32)).map_err(|_| DAMAGED)?;
    let argon = argon2::Argon2::new(argon2::Algorithm::Argon2id, argon2::Version::V0x13, cost);
    let mut derived = Key::default();
    argon.hash_password_into(passphrase.as_bytes(), &salt, &mut derived).map_err(|_| DAMAGED)?;
    let sealer = XSalsa20Poly1305::new((&derived).into());
    let opened = sealer.decrypt(nonce.into(), sealed);
    let opened = opened.map_err(|_| "the passphrase does not open it.")?;
    opened.try_into().map_err(|_| DAMAGED)
}
