//! The methods that are served here, as their descriptors say.

use std::{collections::HashMap, sync::LazyLock};

use prost::Message;
use prost_types::FileDescriptorSet;

/// Whether a client sends a stream, by the path of the method.
static METHODS: LazyLock<HashMap<String, bool>> = LazyLock::new(|| {
    let sets = [
        shuqiao_proto::DESCRIPTOR_SET,
        tonic_health::pb::FILE_DESCRIPTOR_SET,
        tonic_reflection::pb::v1::FILE_DESCRIPTOR_SET,
    ];
    // Descriptors that were compiled in are well-formed; the test below would miss the methods of one that were not.
    let files = sets.into_iter().filter_map(|set| FileDescriptorSet::decode(set).ok()).flat_map(|set| set.file);
    let methods = files.flat_map(|file| {
        let package = file.package().to_owned();
        file.service.into_iter().flat_map(move |service| {
            let service_name = format!("/{package}.{}", service.name());
            let path_of = move |name: &str| format!("{service_name}/{name}");
            service.method.into_iter().map(move |method| (path_of(method.name()), method.client_streaming()))
        })
    });
    methods.collect()
});

/// The path, where it is a method's: what a client wrote becomes a word of our own.
pub(super) fn name(path: &str) -> Option<&'static str> {
    METHODS.get_key_value(path).map(|(path, _)| path.as_str())
}

/// Whether a client sends a stream there.
pub(super) fn is_streamed(path: &str) -> bool {
    METHODS.get(path).copied().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_method_is_known_with_what_its_client_sends() {
        let streamed: Vec<_> = METHODS.iter().filter(|(_, streamed)| **streamed).map(|(path, _)| &**path).collect();
        let mut streamed = streamed;
        streamed.sort_unstable();
        assert_eq!(
            streamed,
            [
                "/grpc.reflection.v1.ServerReflection/ServerReflectionInfo",
                "/shuqiao.exchange.v1.ExchangeService/Publish",
                "/shuqiao.exchange.v1.ExchangeService/Subscribe",
            ]
        );
        for path in ["/grpc.health.v1.Health/Watch", "/shuqiao.exchange.v1.QueryService/GetRecord"] {
            assert_eq!((name(path), is_streamed(path)), (Some(path), false));
        }
        assert_eq!((name("/made.Up/Path"), is_streamed("/made.Up/Path")), (None, false));
    }
}
