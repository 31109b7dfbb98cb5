use super::*;

fn unhex(hex: &str) -> Vec<u8> {
    let byte = |at| u8::from_str_radix(&hex[at..at + 2], 16).unwrap();
    (0..hex.len()).step_by(2).map(byte).collect()
}

/// The examples of the protocol's page.
const GET: &str =
    "444b5631040000000181a7636f6d6d616e64c41682a26f70a3676574a36b6579c408677265657469\
                   6e67";
const BURST: &str = "9384a6726573756c7481a16100a87265766973696f6ecd012ca46e6f6465a26e31a26964c408\
                     000000000000000184a6726573756c7481a16100a87265766973696f6e00a46e6f6465a26e31\
                     a26964c4080000000000000002c0";

#[test]
fn a_request_is_packed_as_the_page_says() {
    let command = command("get", &[("key", ValueRef::Binary(b"greeting")), ("end", ValueRef::Nil)]);
    assert!(unhex(GET).ends_with(&command));
}

#[test]
fn an_array_is_one_frame_with_an_id_of_eight_bytes() {
    let request = || Request { command: b"c", ttl_ms: 7, ..Default::default() };
    let alone = frame(1, &[request()]);
    assert_eq!(alone[..13], *b"DKV1\x08\0\0\0\0\0\0\0\x01");
    assert_eq!(alone[13] & 0xf0, 0x80, "a map");
    assert_eq!(frame(1, &[request(), request()])[13], 0x92, "an array of two");
}

#[test]
fn replies_of_a_burst_are_known_by_their_ids_and_what_is_none_is_skipped() {
    let said = replies(&[b"DKV1".to_vec(), vec![], unhex(BURST)]);
    let ids: Vec<_> = said.iter().map(|it| it.message).collect();
    assert_eq!(ids, [1, 2]);
    assert_eq!((said[0].revision, said[0].node.as_str()), (300, "n1"));
}

#[test]
fn noise_is_nothing() {
    for noise in [&b""[..], b"DKV1", b"DKV1\xff", b"DKV2\x01ab", b"DKV1\x08\0\0\0\0\0\0\0\x01\xc1"]
    {
        assert!(replies(&[noise.to_vec()]).is_empty());
    }
    assert!(replies(&[]).is_empty());
    assert!(replies(&[b"DKV1".to_vec(), b"short".to_vec(), b"\x80".to_vec()]).is_empty());
}

#[test]
fn every_golden_reply_is_understood() {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/vectors");
    let mut seen = 0;
    for file in std::fs::read_dir(folder).unwrap() {
        let text = std::fs::read_to_string(file.unwrap().path()).unwrap_or_default();
        let Ok(serde_json::Value::Array(vectors)) = serde_json::from_str(&text) else {
            continue;
        };
        for vector in vectors {
            let name = vector["name"].as_str().unwrap();
            let frames = vector["frames"].as_array().unwrap().iter();
            let frames: Vec<_> = frames.map(|it| unhex(it.as_str().unwrap())).collect();
            if name.starts_with("reply: ") {
                let (_, mut body) =
                    split(frames.strip_prefix(&[vec![]]).unwrap_or(&frames)).unwrap();
                assert!(rmpv::decode::read_value(&mut body).is_ok(), "{name}");
                seen += 1;
            }
        }
    }
    assert!(seen > 20, "{seen} replies");
}
