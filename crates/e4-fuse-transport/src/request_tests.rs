//! Messages, well formed and not.

use super::*;
use proptest::prelude::*;
use zerocopy::IntoBytes;

fn header(opcode: u32, len: usize, extensions: u16) -> abi::InHeader {
    abi::InHeader {
        len: len as u32,
        opcode,
        unique: 2,
        nodeid: 7,
        uid: 1000,
        gid: 100,
        pid: 1,
        total_extlen: extensions,
        padding: 0,
    }
}

fn message(opcode: u32, parts: &[&[u8]]) -> (abi::InHeader, Vec<u8>) {
    let len = 40 + parts.iter().map(|p| p.len()).sum::<usize>();
    let header = header(opcode, len, 0);
    let mut bytes = header.as_bytes().to_vec();
    parts.iter().for_each(|p| bytes.extend_from_slice(p));
    (header, bytes)
}

#[test]
fn names_end_with_zero() {
    let mut none = AlignedBuf::zeroed(0);
    let rename = abi::Rename2In {
        newdir: 9,
        flags: 1,
        padding: 0,
    };
    let (h, m) = message(op::RENAME2, &[rename.as_bytes(), b"old\0new\0"]);
    let request = parse(&h, &m, &mut none, 0, true).expect("well formed");
    assert_eq!((request.node, request.caller.uid), (NodeId(7), 1000));
    let Operation::Rename {
        name,
        to,
        new_name,
        flags,
    } = request.operation
    else {
        panic!("not a rename");
    };
    assert_eq!(
        (name, to, new_name, flags),
        (&b"old"[..], NodeId(9), &b"new"[..], 1)
    );
    for cut in [1, 4, 5, 9] {
        let short = &m[..m.len() - cut];
        assert!(
            parse(&h, short, &mut none, 0, true).is_err(),
            "cut by {cut}"
        );
    }
}

#[test]
fn times_before_1970_and_extended_setxattr() {
    let mut none = AlignedBuf::zeroed(0);
    let mut s = abi::SetAttrIn::read_from_bytes(&[0; 88]).expect("zeros");
    s.valid = fattr::MTIME | fattr::ATIME | fattr::ATIME_NOW;
    s.mtime = i64::MIN;
    s.mtimensec = 250;
    let (h, m) = message(op::SETATTR, &[s.as_bytes()]);
    let request = parse(&h, &m, &mut none, 0, true).expect("well formed");
    let Operation::SetAttr(set) = request.operation else {
        panic!("not a setattr");
    };
    assert_eq!(set.mtime, Some(SetTime::To(i64::MIN, 250)));
    assert_eq!(
        (set.atime, set.ctime, set.mode),
        (Some(SetTime::Now), None, None)
    );

    let x = abi::SetXattrIn { size: 3, flags: 0 };
    let ext = abi::SetXattrExtIn {
        setxattr_flags: 1,
        padding: 0,
    };
    let long = message(
        op::SETXATTR,
        &[x.as_bytes(), ext.as_bytes(), b"user.a\0abc"],
    );
    let short = message(op::SETXATTR, &[x.as_bytes(), b"user.a\0abc"]);
    for ((h, m), extended) in [(long, true), (short, false)] {
        let request = parse(&h, &m, &mut none, 0, extended).expect("well formed");
        let Operation::SetXattr {
            name,
            value,
            kill_set_group_id,
            ..
        } = request.operation
        else {
            panic!("not a setxattr");
        };
        assert_eq!((name, value), (&b"user.a"[..], &b"abc"[..]));
        assert_eq!(kill_set_group_id, extended);
    }
}

fn write_message(size: u32) -> (abi::InHeader, Vec<u8>) {
    let mut w = abi::WriteIn::read_from_bytes(&[0; 40]).expect("zeros");
    w.size = size;
    message(op::WRITE, &[w.as_bytes()])
}

#[test]
fn payloads_are_copied_when_small_and_handed_on_when_large() {
    for (size, stays) in [(4096, true), (1 << 20, false)] {
        let mut body = AlignedBuf::zeroed(1 << 20);
        body.fill(9);
        let at = body.as_ptr();
        let (h, m) = write_message(size as u32);
        let request = parse(&h, &m, &mut body, size, true).expect("well formed");
        let Operation::Write(write) = request.operation else {
            panic!("not a write");
        };
        let buf = write.payload.into_buf();
        assert!(buf.len() == size && buf.iter().all(|&b| b == 9));
        assert_eq!(buf.as_ptr() == at, !stays);
        assert_eq!(body.len() == 1 << 20, stays);
    }
    let mut body = AlignedBuf::zeroed(8192);
    let (h, m) = write_message(4096);
    for lie in [0, 4095, 4097, 1 << 20] {
        assert!(parse(&h, &m, &mut body, lie, true).is_err(), "{lie} bytes");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(3000))]
    #[test]
    fn no_message_is_a_panic(
        opcode in prop_oneof![0u32..60, any::<u32>()],
        rest in proptest::collection::vec(prop_oneof![Just(0u8), any::<u8>()], 0..200),
        extensions in prop_oneof![4 => Just(0u16), 1 => any::<u16>()],
        in_body in 0usize..5000,
        body in 0usize..5000,
        ext in any::<bool>(),
    ) {
        let header = header(opcode, 40 + rest.len(), extensions);
        let mut message = header.as_bytes().to_vec();
        message.extend_from_slice(&rest);
        let mut body = AlignedBuf::zeroed(body);
        if let Ok(request) = parse(&header, &message, &mut body, in_body, ext) {
            match request.operation {
                Operation::Write(write) => drop(write.payload.into_buf()),
                Operation::ForgetMany(many) => { prop_assert!(many.count() <= rest.len() / 16); }
                _ => {}
            }
        }
    }
}
