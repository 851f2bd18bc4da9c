//! The simulated cloud as a server of `externalgrpc`, the cluster autoscaler's
//! protocol, as far as our planner asks: the cluster autoscaler itself would
//! also want to know a node's group and the GPU types.

use std::convert::Infallible;
use std::sync::Arc;

use http::{Request, Response};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto;
use nodepools::externalgrpc::{node, wire};
use prost::Message as _;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpListener;
use tonic::Status;
use tonic::body::Body;
use tonic::server::Grpc;
use tonic_prost::ProstCodec;

use super::Cloud;

/// Serves the cloud on `listener`, without TLS, until dropped.
pub async fn serve(cloud: Cloud, listener: TcpListener) -> Infallible {
    loop {
        if let Ok((socket, _)) = listener.accept().await {
            tokio::spawn(talk(cloud.clone(), socket));
        }
    }
}

/// Serves one connection.
pub async fn talk(cloud: Cloud, stream: impl AsyncRead + AsyncWrite + Unpin + 'static) {
    let service = service_fn(move |request: Request<Incoming>| {
        let cloud = cloud.clone();
        async move { Ok::<_, Infallible>(cloud.respond(request).await) }
    });
    let server = auto::Builder::new(TokioExecutor::new()).http2_only();
    let served = server.serve_connection(TokioIo::new(stream), service).await;
    if let Err(error) = served {
        tracing::debug!(%error, "a connection to the cloud ended");
    }
}

impl Cloud {
    async fn respond(self, request: Request<Incoming>) -> Response<Body> {
        let cloud = Arc::new(self);
        let call = request.uri().path().strip_prefix(wire::SERVICE);
        match call.unwrap_or_default().to_owned().as_str() {
            "NodeGroups" => unary(request, cloud, |cloud, _: wire::Empty| Ok(cloud.groups())).await,
            "NodeGroupTargetSize" => unary(request, cloud, Cloud::target_size).await,
            "NodeGroupNodes" => unary(request, cloud, Cloud::machines).await,
            "NodeGroupTemplateNodeInfo" => unary(request, cloud, Cloud::template).await,
            "NodeGroupIncreaseSize" => unary(request, cloud, Cloud::grow).await,
            "NodeGroupDeleteNodes" => unary(request, cloud, Cloud::delete).await,
            "PricingNodePrice" => unary(request, cloud, Cloud::price).await,
            "Refresh" | "Cleanup" => {
                unary(request, cloud, |_, _: wire::Empty| Ok(wire::Empty {})).await
            }
            _ => Status::unimplemented("this cloud has no such call").into_http(),
        }
    }

    fn groups(&self) -> wire::NodeGroups {
        let size = |n: u32| i32::try_from(n).unwrap_or(i32::MAX);
        let group = |pool: super::PoolSummary| wire::NodeGroup {
            debug: pool.pool.name.clone(),
            min_size: size(pool.pool.min),
            max_size: size(pool.pool.max),
            id: pool.group,
        };
        wire::NodeGroups {
            node_groups: self.summaries().into_iter().map(group).collect(),
        }
    }

    fn summary(&self, group: &str) -> Result<super::PoolSummary, Status> {
        let mut all = self.summaries().into_iter();
        all.find(|pool| pool.group == group)
            .ok_or_else(|| Status::not_found(format!("there is no group {group}")))
    }

    fn target_size(&self, of: wire::OfGroup) -> Result<wire::TargetSize, Status> {
        let target = self.summary(&of.id)?.target;
        Ok(wire::TargetSize {
            target_size: i32::try_from(target).unwrap_or(i32::MAX),
        })
    }

    fn machines(&self, of: wire::OfGroup) -> Result<wire::Instances, Status> {
        self.summary(&of.id)?;
        let machines = self.machines_of(&of.id).into_iter();
        let instances = machines.map(|(id, instance)| {
            let (state, error) = wire::MachineState::of(&instance.state);
            let state = state.into();
            let status = Some(wire::MachineStatus { state, error });
            wire::Machine { id, status }
        });
        Ok(wire::Instances {
            instances: instances.collect(),
        })
    }

    fn template(&self, of: wire::OfGroup) -> Result<wire::TemplateNodeInfo, Status> {
        self.summary(&of.id)?;
        let sample = self.sample(&of.id);
        let sample = sample.ok_or_else(|| Status::unimplemented("no template"))?;
        let node = node::from_json(&sample).encode_to_vec();
        Ok(wire::TemplateNodeInfo {
            old: node.clone(),
            new: node,
        })
    }

    fn grow(&self, change: wire::ChangeSize) -> Result<wire::Empty, Status> {
        let target = self.summary(&change.id)?.target;
        let more = u32::try_from(change.delta)
            .map_err(|_| Status::invalid_argument("the delta is negative"))?;
        let ordered = self.order(&change.id, target.saturating_add(more));
        let ordered = ordered.map_err(|error| Status::resource_exhausted(error.0));
        ordered.map(|()| wire::Empty {})
    }

    fn delete(&self, wanted: wire::DeleteNodes) -> Result<wire::Empty, Status> {
        let machines = self.machines_of(&wanted.id);
        for node in &wanted.nodes {
            let found = machines.iter().find(|(id, _)| *id == node.provider_id);
            let Some((_, instance)) = found else {
                let id = &node.provider_id;
                return Err(Status::not_found(format!("there is no machine {id}")));
            };
            let released = self.release(&wanted.id, &instance.name);
            released.map_err(|error| Status::internal(error.0))?;
        }
        Ok(wire::Empty {})
    }

    fn price(&self, of: wire::NodePrice) -> Result<wire::Price, Status> {
        let labels = of.node.map(|node| node.labels).unwrap_or_default();
        let name = labels.get("agentpool");
        let pools = self.summaries();
        let pool = pools.iter().find(|pool| Some(&pool.pool.name) == name);
        let pool = pool.ok_or_else(|| Status::not_found("the node is of no pool"))?;
        Ok(wire::Price {
            price: pool.pool.price,
        })
    }
}

async fn unary<Q, A>(
    request: Request<Incoming>,
    cloud: Arc<Cloud>,
    answer: impl Fn(&Cloud, Q) -> Result<A, Status> + Clone + Send + 'static,
) -> Response<Body>
where
    Q: prost::Message + Default + Send + 'static,
    A: prost::Message + Default + Send + 'static,
{
    let service = tower::service_fn(move |question: tonic::Request<Q>| {
        let answered = answer(&cloud, question.into_inner());
        async move { answered.map(tonic::Response::new) }
    });
    let mut grpc = Grpc::new(ProstCodec::<A, Q>::default());
    grpc.unary(service, request).await
}
