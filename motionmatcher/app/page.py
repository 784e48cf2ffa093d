"""The page: its fields from top to bottom, and which action each of them calls."""

from pathlib import Path
from typing import Any

import gradio as gr

from motionmatcher.app.actions import LOOKED_AT, Actions
from motionmatcher.app.workshop import Workshop, list_configs

LOOK_EVERY_S = 1.0
STYLE = Path(__file__).with_name("style.css")
INTRODUCTION = """# MotionMatcher
Train a video model on the motion of one clip, and make videos of other things that move so."""


def open_page(page: gr.Blocks, workshop: Workshop, host: str, port: int) -> None:
    """Serve the page on this machine, without a link to it from elsewhere; returns at once."""
    theme = gr.themes.Default(
        primary_hue="orange",
        # Of the machine: gradio's own are fetched from the net.
        font=["system-ui", "sans-serif"],
        font_mono=["ui-monospace", "monospace"],
    )
    page.launch(
        server_name=host,
        server_port=port,
        share=False,
        quiet=True,
        prevent_thread_lock=True,
        allowed_paths=[str(workshop.outputs.resolve())],
        ssr_mode=False,
        pwa=False,
        mcp_server=False,
        run_history=False,
        enable_monitoring=False,
        footer_links=[],
        theme=theme,
        css_paths=STYLE,
    )


def make_page(workshop: Workshop, config: Path) -> gr.Blocks:
    """Lay the page out.

    Args:
        workshop: Where its actions act.
        config: The settings file it begins with.
    """
    actions = Actions(workshop)
    parts: dict[str, Any] = {}
    with gr.Blocks(title="MotionMatcher", analytics_enabled=False) as page:
        gr.Markdown(INTRODUCTION)
        seen, clip, better = gr.State({}), gr.State(None), gr.State(())
        gr.Markdown("## 1. Clip")
        configs = [str(path) for path in list_configs(config)]
        settings = gr.Dropdown(
            configs,
            value=configs[0],
            label="Settings",
            info="The base model, its sizes; some name a clip.",
        )
        upload = gr.File(label="Reference clip: mp4, mov, webm, avi or gif", type="filepath")
        findings = gr.HTML(elem_id="findings")
        use_better = gr.Checkbox(visible=False, label="Train on better frames", elem_id="better")

        gr.Markdown("## 2. Prompts and steps")
        clip_prompt = gr.Textbox(
            label="What the clip shows", placeholder="a green square on a plain gray background"
        )
        prompts = gr.Textbox(
            label="What else shall move so",
            info="Prompts of the previews, one a line.",
            lines=2,
            placeholder="an orange circle on a plain black background",
        )
        steps = gr.Number(label="Steps in all", precision=0, minimum=1)
        with gr.Accordion("Other settings", open=False):
            others = gr.Textbox(
                label="Changes to the settings, key=value, one a line",
                lines=2,
                placeholder="learning_rate=1e-3",
            )

        gr.Markdown("## 3. Train")
        with gr.Row():
            train = gr.Button("Train", variant="primary", elem_id="train")
            stop = gr.Button("Stop", elem_id="stop")
            resume = gr.Button("Go on", elem_id="resume")
        train_message = gr.HTML(elem_id="train-message")
        parts["training"] = gr.HTML(elem_id="training")
        run = parts["runs"] = gr.Dropdown(
            [], label="Run", info="Begun here or by train.py; Go on and all below are about it."
        )
        parts["progress"] = gr.HTML(elem_id="progress")
        parts["curve"] = gr.HTML(elem_id="curve")
        parts["previews"] = gr.HTML(elem_id="previews")
        with gr.Accordion("What the programs say", open=False):
            parts["log"] = gr.HTML(elem_id="log")

        gr.Markdown("## 4. Generate and compare")
        videos_prompts = gr.Textbox(label="What to show, one prompt a line", lines=2)
        with gr.Row():
            checkpoint = parts["checkpoints"] = gr.Dropdown([], label="Checkpoint")
            noise_prior = gr.Slider(
                0, 1, value=0, step=0.05, label="Noise prior: share of the clip's own noise"
            )
        with gr.Row():
            seed = gr.Number(value=0, label="Seed of the first video", precision=0, minimum=0)
            repeats = gr.Number(value=1, label="Videos of each prompt", precision=0, minimum=1)
        with gr.Row():
            generate = gr.Button("Generate", variant="primary", elem_id="generate")
            compare = gr.Button("Compare with the base", elem_id="compare")
            stop_videos = gr.Button("Stop", elem_id="stop-videos")
        videos_message = gr.HTML(elem_id="videos-message")
        parts["videos_job"] = gr.HTML(elem_id="videos-job")
        parts["videos"] = gr.HTML(elem_id="videos")

        gr.Markdown("## 5. Take it away")
        pack = gr.Button("Make a motion pack", elem_id="pack")
        packed = gr.HTML(elem_id="packed")

        silent: dict[str, Any] = {"show_progress": "hidden", "api_visibility": "private"}
        form = [settings, clip, clip_prompt, prompts, steps, others, use_better, better]
        fields = [clip, clip_prompt, prompts, steps]
        look = {
            "fn": actions.examine_clip,
            "inputs": [clip, settings, others],
            "outputs": [findings, clip, better, use_better],
            "api_visibility": "private",
        }
        sampling = [checkpoint, noise_prior, seed, repeats]
        run_fields = [steps, checkpoint, noise_prior, seed, videos_prompts]
        gr.on([page.load, settings.input], actions.read_config, settings, fields, **silent).then(
            **look
        )
        page.load(actions.list_runs, run, run, **silent)
        gr.on([upload.upload, upload.clear], actions.keep_clip, upload, clip, **silent).then(**look)
        train.click(actions.train, form, train_message, **silent)
        resume.click(actions.resume, [run, steps], train_message, **silent)
        stop.click(actions.stop, None, train_message, **silent)
        run.change(actions.open_run, run, run_fields, **silent)
        generate.click(actions.generate, [run, videos_prompts, *sampling], videos_message, **silent)
        compare.click(actions.compare, run, videos_message, **silent)
        stop_videos.click(actions.stop, None, videos_message, **silent)
        pack.click(actions.pack, [run, checkpoint], packed, **silent)
        gr.Timer(LOOK_EVERY_S).tick(
            actions.look, [run, seen], [seen, *(parts[name] for name in LOOKED_AT)], **silent
        )
    return page
