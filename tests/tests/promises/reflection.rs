//! A client that has no file of ours learns from a node what it can be asked.

use prost::Message;
use prost_types::FileDescriptorProto;
use shuqiao_tests::fixtures::{City, Client, Home};
use tonic::{Code, Status};
use tonic_reflection::pb::v1::{
    ServerReflectionRequest, server_reflection_request::MessageRequest as Asked,
    server_reflection_response::MessageResponse as Answer,
};

/// One question of a stream of its own.
async fn asks(client: &Client, asked: Asked) -> Result<Answer, Status> {
    let request = ServerReflectionRequest { host: String::new(), message_request: Some(asked) };
    let mut answers = client.reflection().server_reflection_info(tokio_stream::iter([request])).await?.into_inner();
    let answer = answers.message().await?.and_then(|answer| answer.message_response);
    answer.ok_or_else(|| Status::unknown("no answer"))
}

/// Every service with its calls, as the descriptors that the node hands out say it.
async fn calls(client: &Client, service: &str) -> Vec<(String, bool, bool)> {
    let asked = Asked::FileContainingSymbol(service.to_owned());
    let Ok(Answer::FileDescriptorResponse(found)) = asks(client, asked).await else {
        panic!("{service}: no descriptor")
    };
    let files = found.file_descriptor_proto.iter().map(|file| FileDescriptorProto::decode(&**file).expect("a file"));
    let described = files.flat_map(|file| {
        let package = file.package().to_owned();
        file.service.into_iter().map(move |one| (format!("{package}.{}", one.name()), one.method))
    });
    let (_, methods) = described.into_iter().find(|(name, _)| name == service).expect("the service is in its file");
    let call = |method: prost_types::MethodDescriptorProto| {
        (method.name().to_owned(), method.client_streaming(), method.server_streaming())
    };
    methods.into_iter().map(call).collect()
}

#[tokio::test]
async fn a_node_names_its_services_and_hands_out_their_descriptors() {
    let city = City::on(Home::Embedded).await;
    // No department has to be enrolled for that: a certificate of this authority is enough.
    let client = city.client("department/stranger/person/engineer").await;
    let Ok(Answer::ListServicesResponse(listed)) = asks(&client, Asked::ListServices(String::new())).await else {
        panic!("no list")
    };
    let mut names: Vec<_> = listed.service.into_iter().map(|one| one.name).collect();
    names.sort();
    let ours = ["AuditService", "CatalogueService", "ExchangeService", "NodeService", "QueryService"];
    let ours = ours.map(|name| format!("shuqiao.exchange.v1.{name}"));
    let standard = ["grpc.health.v1.Health", "grpc.reflection.v1.ServerReflection"].map(str::to_owned);
    assert_eq!(names, [&standard[..], &ours[..]].concat());

    let streams = calls(&client, "shuqiao.exchange.v1.ExchangeService").await;
    assert_eq!(streams, [("Publish".to_owned(), true, true), ("Subscribe".to_owned(), true, true)]);
    for service in &names {
        assert!(!calls(&client, service).await.is_empty(), "{service}");
    }
    let unknown = asks(&client, Asked::FileContainingSymbol("shuqiao.exchange.v1.Nothing".to_owned())).await;
    assert_eq!(unknown.expect_err("no such symbol").code(), Code::NotFound);
}
