//! nginx as it is measured: one worker, no log, everything kept alive, and nothing held back that
//! would make it faster.

use std::fmt::Write;

use crate::Result;
use crate::peers::{MADE_UP_SESSION, Peer, Place, USER};
use crate::portcullis::COOKIE;

/// Writes the configuration and says what to run.
pub fn prepare(place: &Place<'_>, peer: Peer) -> Result<Vec<String>> {
    let file = place.folder.join("nginx.conf");
    std::fs::write(&file, config(place, peer)?)?;
    let folder = place.folder.display().to_string();
    let command = ["nginx", "-e", "stderr", "-p", &folder, "-c"];
    let mut command: Vec<_> = command.map(str::to_owned).into();
    command.push(file.display().to_string());
    Ok(command)
}

fn config(place: &Place<'_>, peer: Peer) -> Result<String> {
    let mut text = String::new();
    if rustix::process::geteuid().is_root() {
        // Its worker could not reach our temporary folder as anybody else.
        text.push_str("user root;\n");
    }
    if peer == Peer::NginxLua {
        text.push_str(
            "load_module /usr/lib/nginx/modules/ndk_http_module.so;\n\
             load_module /usr/lib/nginx/modules/ngx_http_lua_module.so;\n",
        );
    }
    text.push_str(MAIN);
    if peer == Peer::NginxLua {
        write!(
            text,
            "lua_shared_dict sessions 10m;\n\
             init_by_lua_block {{ ngx.shared.sessions:set('{MADE_UP_SESSION}', '{USER}') }}\n"
        )?;
    }
    write!(
        text,
        "upstream backend {{ server {}; keepalive {}; keepalive_requests 1000000000; }}\n\
         server {{\n\
         listen {} ssl http2;\n\
         ssl_certificate {};\n\
         ssl_certificate_key {};\n\
         {SERVER}",
        place.backend,
        place.nginx_keepalive,
        place.address,
        place.certificate.cert.display(),
        place.certificate.key.display(),
    )?;
    text.push_str(&location(peer));
    text.push_str("}\n}\n");
    Ok(text)
}

const MAIN: &str = "\
worker_processes 1;
daemon off;
pid nginx.pid;
events { worker_connections 8192; }
http {
access_log off;
client_body_temp_path body;
proxy_temp_path proxy;
fastcgi_temp_path fastcgi;
uwsgi_temp_path uwsgi;
scgi_temp_path scgi;
keepalive_requests 1000000000;
keepalive_timeout 600s;
";

/// `proxy_max_temp_file_size` keeps it from writing large answers to disk, which would cost it
/// far more than it costs to wait for the client.
const SERVER: &str = "\
ssl_protocols TLSv1.2 TLSv1.3;
ssl_ecdh_curve X25519:prime256v1;
ssl_session_tickets on;
client_max_body_size 0;
proxy_request_buffering off;
proxy_max_temp_file_size 0;
proxy_http_version 1.1;
proxy_set_header Connection '';
";

fn location(peer: Peer) -> String {
    match peer {
        Peer::NginxAuth => "location / { auth_request /auth; proxy_pass http://backend; }\n\
             location = /auth {\n\
             internal;\n\
             proxy_pass http://backend;\n\
             proxy_pass_request_body off;\n\
             proxy_set_header Connection '';\n\
             proxy_set_header Content-Length '';\n\
             }\n"
        .to_owned(),
        Peer::NginxLua => format!(
            "location / {{\n\
             access_by_lua_block {{\n\
             local id = ngx.var['cookie_{COOKIE}']\n\
             local user = id and ngx.shared.sessions:get(id)\n\
             if not user then return ngx.exit(401) end\n\
             ngx.req.set_header('X-Forwarded-User', user)\n\
             }}\n\
             proxy_pass http://backend;\n\
             }}\n"
        ),
        _ => "location / { proxy_pass http://backend; }\n".to_owned(),
    }
}
