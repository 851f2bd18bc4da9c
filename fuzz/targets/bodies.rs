//! Bodies of requests in JSON and protobuf: decoded or refused.

#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|body: &[u8]| {
    let _ = cluster::schema::decode_json(body);
    let _ = cluster::schema::protobuf::decode(body);
    let _ = cluster::schema::protobuf::decode(&[b"k8s\0", body].concat());
});
