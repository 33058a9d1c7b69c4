"""The web server of `serve`: a Gradio page that only this machine can open and that loads nothing from elsewhere."""

import os
import socket
from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import TYPE_CHECKING

from dmgan.errors import UserError
from dmgan.inspection import page
from dmgan.inspection.inspector import Aspects
from dmgan.inspection.playground import PageRequest, Playground
from dmgan.runtime.progress import log

if TYPE_CHECKING:
    import gradio
    from fastapi import FastAPI

HOST = "127.0.0.1"
_QUEUE = 8  # waiting requests; further requests are refused
_GRACE = 2  # seconds after Ctrl-C until connections of open pages are closed
_DEFAULT_SEEDS = "100 101"
_EXAMPLES = 4
# The browser refuses any request to another server, whatever the page asks for. Gradio's scripts need the two
# "unsafe" sources.
_POLICY = (
    "default-src 'self'; script-src 'self' 'unsafe-inline' 'unsafe-eval'; style-src 'self' 'unsafe-inline'; "
    "img-src 'self' data: blob:; font-src 'self' data:; worker-src 'self' blob:; frame-ancestors 'none'"
)
_POLICY_HEADERS = [(b"content-security-policy", _POLICY.encode()), (b"referrer-policy", b"no-referrer")]
_ENVIRONMENT = {  # read when gradio is imported or a page is made
    "GRADIO_ANALYTICS_ENABLED": "False",
    "HF_HUB_DISABLE_TELEMETRY": "1",
}


def import_gradio():
    """Return the module gradio, without its telemetry; UserError if it is not installed."""
    os.environ.update(_ENVIRONMENT)
    try:
        import gradio
    except ImportError as error:
        raise UserError(
            f"serve: gradio cannot be imported ({error}); pip install 'dmgan-reproduction[serve]'"
        ) from error
    return gradio


def build_page(playground: Playground) -> "gradio.Blocks":
    """Return the page: caption, models and seeds above, the cards of the images below."""
    gr = import_gradio()
    labels = list(playground.runs)
    with gr.Blocks(title="Text-to-image GANs", analytics_enabled=False) as blocks:
        gr.Markdown("## Text-to-image GANs\nImages of your caption by trained models, side by side.")
        caption = gr.Textbox(label="Caption", lines=2, max_lines=4, placeholder="this bird has a red crown")
        unknown = gr.HTML(apply_default_css=False)
        if examples := playground.example_captions(_EXAMPLES):
            gr.Examples([[each] for each in examples], [caption], label="Test captions")
        with gr.Row():
            models = gr.CheckboxGroup(labels, value=labels[:2], label="Models", scale=3)
            with gr.Column(scale=2):
                seeds = gr.Textbox(_DEFAULT_SEEDS, label="Noise seeds", info="One image per model and seed")
                attention = gr.Checkbox(True, label="Words: attention and memory gates")
                scores = gr.Checkbox(True, label="Scores against the caption")
                nearest = gr.Checkbox(True, label="Nearest training image")
        button = gr.Button("Generate", variant="primary")
        cards = gr.HTML(apply_default_css=False)
        gr.on(
            [caption.change, models.change], playground.unknown_words, [caption, models], unknown, queue=False,
            show_progress="hidden", trigger_mode="always_last", api_visibility="private",
        )  # fmt: skip
        gr.on(
            [button.click, caption.submit, seeds.submit], _answers(playground),
            [caption, models, seeds, attention, scores, nearest], cards, concurrency_limit=1, show_progress="minimal",
            api_visibility="private",
        )  # fmt: skip
    return blocks.queue(max_size=_QUEUE, api_open=False)


def _answers(playground: Playground) -> Callable[..., Iterator[str]]:
    """Return the page's function, whose arguments are the values of its inputs."""

    def answer(
        caption: str, labels: list[str], seeds: str, attention: bool, scores: bool, nearest: bool
    ) -> Iterator[str]:
        yield from playground.answer(PageRequest(caption, labels, seeds, Aspects(attention, scores, nearest)))

    return answer


class _SecurityPolicy:
    """ASGI middleware that adds the content security policy to every response."""

    def __init__(self, application: Callable):
        self._application = application

    async def __call__(self, scope: dict, receive: Callable, send: Callable) -> None:
        async def send_with_policy(message: dict) -> None:
            if message["type"] == "http.response.start":
                message = {**message, "headers": [*message.get("headers", []), *_POLICY_HEADERS]}
            await send(message)

        await self._application(scope, receive, send_with_policy)


def build_application(playground: Playground) -> "FastAPI":
    """Return the web application of the page, which answers requests for this machine's names only."""
    gr = import_gradio()
    from fastapi import FastAPI
    from starlette.middleware.trustedhost import TrustedHostMiddleware

    application = FastAPI(docs_url=None, redoc_url=None, openapi_url=None)

    application.add_middleware(_SecurityPolicy)
    # Against DNS rebinding: another site's host name that resolves to 127.0.0.1 is refused.
    application.add_middleware(TrustedHostMiddleware, allowed_hosts=[HOST, "localhost"])
    fonts = {"font": ["system-ui", "sans-serif"], "font_mono": ["ui-monospace", "monospace"]}
    return gr.mount_gradio_app(
        application, build_page(playground), path="/", server_name=HOST, footer_links=[], run_history=False,
        ssr_mode=False, mcp_server=False, enable_monitoring=False, pwa=False, theme=gr.themes.Base(**fonts),
        css=page.STYLE,
    )  # fmt: skip


def serve(playground: Playground, port: int) -> None:
    """Serve the page on 127.0.0.1 until Ctrl-C; port 0: any free port. UserError if the port is taken."""
    application = build_application(playground)
    import uvicorn

    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as listening:
        listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listening.bind((HOST, port))
            listening.listen()
        except OSError as error:
            raise UserError(f"--port {port}: cannot be opened ({error.strerror}); give another port, or 0") from error
        log(f"http://{HOST}:{listening.getsockname()[1]}/ ({len(playground.runs)} models; end with Ctrl-C)")
        config = uvicorn.Config(application, log_level="warning", lifespan="on", timeout_graceful_shutdown=_GRACE)
        with suppress(KeyboardInterrupt):
            uvicorn.Server(config).run(sockets=[listening])
