"""A browser without a window, asked through a pipe (Chrome DevTools Protocol).

Chromium reads commands from descriptor 3 and answers on 4, each a JSON object
that a zero byte ends.
"""

import fcntl
import json
import os
import shutil
import subprocess
import tempfile

PATH = shutil.which("chromium") or shutil.which("google-chrome")
_FLAGS = (
  *("--headless", "--no-sandbox", "--disable-gpu", "--no-first-run"),
  *("--disable-background-networking", "--disable-component-update"),
  *("--disable-sync", "--disable-dev-shm-usage", "--remote-debugging-pipe"),
)


class Browser:
  """One page in a browser; what it complains about is in `complaints`."""

  def __enter__(self):
    self._folder = tempfile.TemporaryDirectory(ignore_cleanup_errors=True)
    commands, self._to = os.pipe()
    self._from, answers = os.pipe()
    # Numbers that are neither 3 nor 4; a shell gives the browser these two.
    theirs = [
      fcntl.fcntl(end, fcntl.F_DUPFD, 10) for end in (commands, answers)
    ]
    shell = 'exec "$0" "$@" 3<&{} 4>&{}'.format(*theirs)
    self._process = subprocess.Popen(
      [
        "bash",
        "-c",
        shell,
        PATH,
        *_FLAGS,
        f"--user-data-dir={self._folder.name}",
      ],
      stdout=subprocess.DEVNULL,
      stderr=subprocess.DEVNULL,
      pass_fds=theirs,
    )
    for end in (commands, answers, *theirs):
      os.close(end)
    self._answers, self._number, self._session = b"", 0, None
    self.complaints = []
    target = self._call("Target.createTarget", url="about:blank")["targetId"]
    self._session = self._call(
      "Target.attachToTarget", targetId=target, flatten=True
    )["sessionId"]
    for domain in ("Runtime", "Log", "Page", "Network"):
      self._call(f"{domain}.enable")
    return self

  def __exit__(self, *error):
    self._process.kill()
    self._process.wait()
    os.close(self._to)
    os.close(self._from)
    self._folder.cleanup()

  def open(self, url):
    """Opens a page and waits until it is loaded."""
    self._call("Page.navigate", url=url)
    while self.evaluate("document.readyState") != "complete":
      pass

  def emulate(self, width, scheme="light", media="screen"):
    """The width of the window, in pixels, and what the user prefers."""
    self._call(
      "Emulation.setDeviceMetricsOverride",
      **{"width": width, "height": 900, "deviceScaleFactor": 1},
      mobile=False,
    )
    self._call(
      "Emulation.setEmulatedMedia",
      media=media,
      features=[{"name": "prefers-color-scheme", "value": scheme}],
    )

  def press(self, key):
    """Presses a key where the focus is."""
    for kind in ("keyDown", "keyUp"):
      self._call("Input.dispatchKeyEvent", type=kind, key=key, code=key)

  def point_at(self, x, y):
    """Moves the pointer there, in pixels of the window."""
    self._call("Input.dispatchMouseEvent", type="mouseMoved", x=x, y=y)

  def evaluate(self, expression):
    """The value of an expression in the page."""
    answer = self._call(
      "Runtime.evaluate", expression=expression, returnByValue=True
    )
    assert "exceptionDetails" not in answer, answer
    return answer["result"].get("value")

  def _call(self, method, **params):
    self._number += 1
    message = {"id": self._number, "method": method, "params": params}
    if self._session:
      message["sessionId"] = self._session
    os.write(self._to, json.dumps(message).encode() + b"\0")
    while True:
      answer = self._read()
      if answer.get("id") == self._number:
        assert "error" not in answer, answer
        return answer["result"]
      self._listen(answer)

  def _listen(self, event):
    """Keeps what the page says, throws, violates or fetches."""
    name, params = event["method"], event["params"]
    if name in (
      *("Runtime.consoleAPICalled", "Runtime.exceptionThrown"),
      "Log.entryAdded",
    ):
      self.complaints.append(params)
    if name == "Network.requestWillBeSent":
      url = params["request"]["url"]
      if not url.startswith(("file:", "data:", "about:")):
        self.complaints.append(url)

  def _read(self):
    while b"\0" not in self._answers:
      more = os.read(self._from, 1 << 20)
      assert more, "the browser has ended"
      self._answers += more
    answer, _, self._answers = self._answers.partition(b"\0")
    return json.loads(answer)
