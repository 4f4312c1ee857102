// The phone page of the sandbox: reads /sandbox/state by long polling and shows one user's chat with the account.

const $ = (id) => document.getElementById(id);
const desk = document.querySelector(".desk");
const COLOURS = ["#e08a4c", "#5b8def", "#4fb286", "#b36ae2", "#d9607a", "#3fa7c4", "#8d8a5b", "#7a7fd0"];
// Marks between messages further apart than this, as WeChat has them.
const QUIET_SECONDS = 300;
const POLL_PAUSE = 400;
const EVENTS = {
  subscribe: "关注",
  unsubscribe: "取消关注",
  SCAN: "扫码",
  text: "文字消息",
  TEMPLATESENDJOBFINISH: "模板消息回执",
};

let platform = null;
let accountId = null;
let openid = null;
let shown = "";

function element(tag, className, text, attributes = {}) {
  const node = document.createElement(tag);
  if (className) node.className = className;
  if (text !== undefined && text !== null) node.textContent = text;
  for (const [name, value] of Object.entries(attributes)) node.setAttribute(name, value);
  return node;
}

async function call(path, body) {
  const options = body && { method: "POST", body: JSON.stringify(body) };
  const response = await fetch(`/sandbox/${path}`, options);
  const answer = await response.json();
  if (!response.ok) throw new Error(answer.error || `HTTP ${response.status}`);
  return answer;
}

const account = () => platform.accounts.find((item) => item.app_id === accountId);
const person = () => account().followers.find((item) => item.openid === openid);

function clock(seconds) {
  const moment = new Date(seconds * 1000);
  const time = moment.toLocaleTimeString("zh-CN", { hour: "2-digit", minute: "2-digit" });
  const today = moment.toDateString() === new Date().toDateString();
  return today ? time : `${moment.getMonth() + 1}月${moment.getDate()}日 ${time}`;
}

function avatar(name, colour) {
  const sum = [...name].reduce((total, letter) => (total * 31 + letter.codePointAt(0)) % 99991, 0);
  const node = element("span", "avatar", [...name][0] || "?", { "aria-hidden": "true" });
  node.style.background = colour || COLOURS[sum % COLOURS.length];
  return node;
}

function drawAccounts() {
  if (!account()) accountId = platform.accounts[0].app_id;
  const select = $("account");
  select.parentElement.hidden = platform.accounts.length < 2;
  select.replaceChildren(
    ...platform.accounts.map((item) => new Option(item.name, item.app_id, false, item.app_id === accountId)),
  );
}

function drawPeople() {
  const focused = document.activeElement?.dataset?.openid;
  const rows = account().followers.map((item) => {
    const button = element("button", `person${item.subscribed ? "" : " gone"}`, null, { type: "button" });
    button.dataset.openid = item.openid;
    button.setAttribute("aria-current", String(item.openid === openid));
    const about = element("span", "about");
    const line = element("span", "line");
    line.append(element("span", "name", item.name), element("span", "when", item.last_time ? clock(item.last_time) : ""));
    const said = item.subscribed ? item.last_text || "" : "未关注";
    about.append(line, element("div", "said", said));
    button.append(avatar(item.name), about);
    button.addEventListener("click", () => choose(item.openid, "chat"));
    const row = element("li");
    row.append(button);
    return row;
  });
  $("people").replaceChildren(...rows);
  $("nobody").hidden = rows.length > 0;
  if (focused) $("people").querySelector(`[data-openid="${focused}"]`)?.focus();
}

function card(message) {
  const node = element("article", "card");
  const list = element("dl");
  for (const line of message.template.lines) list.append(element("dt", "", line.label), element("dd", "", line.value));
  node.append(element("h3", "", message.template.title), element("time", "", clock(message.time)), list);
  if (/^https?:\/\//.test(message.url)) {
    node.append(element("a", "", "查看详情", { href: message.url, target: "_blank", rel: "noopener" }));
  }
  return node;
}

function drawMessage(message) {
  if (message.from === "system") return element("li", "mark", message.text);
  const row = element("li", message.from === "user" ? "mine" : "theirs");
  if (message.type === "template") {
    row.append(card(message));
    return row;
  }
  const sender = message.from === "user" ? avatar(person().name) : avatar(account().name, "var(--green)");
  row.append(sender, element("div", "bubble", message.text));
  return row;
}

async function drawChat() {
  const who = person();
  $("title").textContent = account().name;
  $("unfollow").hidden = !who?.subscribed;
  $("follow").hidden = !who || who.subscribed;
  $("text").hidden = $("send").hidden = !who?.subscribed;
  $("scan").hidden = !who;
  const chat = $("chat");
  if (!who) {
    chat.replaceChildren();
    shown = "";
    return;
  }
  const query = new URLSearchParams({ user: openid, app_id: accountId });
  const { messages } = await call(`messages?${query}`);
  const key = JSON.stringify([openid, messages]);
  if (key === shown) return;
  shown = key;
  let before = 0;
  const rows = [];
  for (const message of messages) {
    if (message.time - before > QUIET_SECONDS) rows.push(element("li", "mark", clock(message.time)));
    before = message.time;
    rows.push(drawMessage(message));
  }
  chat.replaceChildren(...rows);
  chat.scrollTop = chat.scrollHeight;
}

function verdict(push) {
  if (push.ok) return push.reply ? `HTTP ${push.status}，有回复` : `HTTP ${push.status}`;
  return push.error || `HTTP ${push.status}`;
}

function drawPushes() {
  const { pushes, suspended_until: suspended, webhook_url: url, followers } = account();
  const names = Object.fromEntries(followers.map((item) => [item.openid, item.name]));
  const last = pushes.at(-1);
  const dot = $("dot");
  dot.className = "dot";
  if (!url) {
    $("last").textContent = "尚未配置服务器地址，微信不会推送";
  } else if (suspended * 1000 > Date.now()) {
    dot.classList.add("bad");
    $("last").textContent = `失败太多，微信已暂停推送，${clock(suspended)} 恢复`;
  } else if (last) {
    dot.classList.add(last.ok ? "good" : "bad");
    $("last").textContent = `${EVENTS[last.event] || last.event}：${verdict(last)}，${Math.round(last.elapsed * 1000)} 毫秒`;
  } else {
    $("last").textContent = "还没有推送";
  }
  $("pushes").replaceChildren(
    ...pushes.toReversed().map((push) => {
      const row = element("tr");
      row.append(
        element("td", "", new Date(push.time * 1000).toLocaleTimeString("zh-CN")),
        element("td", "", names[push.openid] || ""),
        element("td", "", EVENTS[push.event] || push.event),
        element("td", push.ok ? "" : "bad", verdict(push)),
        element("td", "", push.attempts),
        element("td", "", `${Math.round(push.elapsed * 1000)} 毫秒`),
      );
      return row;
    }),
  );
}

async function draw() {
  drawAccounts();
  if (!person()) openid = account().followers[0]?.openid || null;
  drawPeople();
  drawPushes();
  await drawChat();
}

async function choose(who, view) {
  openid = who;
  desk.dataset.view = view;
  await draw();
  if (view === "chat") $("text").focus();
}

async function drawCodes() {
  const { codes } = await call(`codes?${new URLSearchParams({ app_id: accountId })}`);
  $("codes").replaceChildren(
    ...codes.map((code) => {
      const button = element("button", "code", null, { type: "button" });
      const picture = element("img", "", null, {
        src: `/cgi-bin/showqrcode?${new URLSearchParams({ ticket: code.ticket })}`,
        alt: "",
        loading: "lazy",
      });
      const about = element("span");
      const until = code.expires_at ? `有效期至 ${clock(code.expires_at)}` : "永久有效";
      about.append(element("div", "scene", code.scene), element("div", "until", until));
      button.append(picture, about);
      button.addEventListener("click", () => scan(code.url));
      const row = element("li");
      row.append(button);
      return row;
    }),
  );
  $("no-codes").hidden = codes.length > 0;
}

async function scan(content) {
  $("scan-error").textContent = "";
  $("scan-content").disabled = true;
  try {
    const answer = await call("scan", { user: openid, content });
    accountId = answer.app_id;
    openid = answer.openid;
    $("scanner").close();
  } catch (error) {
    $("scan-error").textContent = error.message;
  } finally {
    $("scan-content").disabled = false;
  }
}

// What an act on the chat brings is shown by the next poll; a refusal is shown in the strip at once.
async function act(path, body) {
  try {
    await call(path, { app_id: accountId, user: openid, ...body });
  } catch (error) {
    $("dot").className = "dot bad";
    $("last").textContent = error.message;
  }
}

$("account").addEventListener("change", (event) => {
  accountId = event.target.value;
  openid = null;
  draw();
});
$("back").addEventListener("click", () => {
  desk.dataset.view = "list";
});
$("follow").addEventListener("click", () => act("follow"));
$("unfollow").addEventListener("click", () => act("unfollow"));
$("say").addEventListener("submit", (event) => {
  event.preventDefault();
  const text = $("text").value.trim();
  if (!text) return;
  $("text").value = "";
  act("say", { text });
});
$("scan").addEventListener("click", async () => {
  $("content").value = "";
  $("scan-error").textContent = "";
  await drawCodes();
  $("scanner").showModal();
});
$("scan-content").addEventListener("click", () => scan($("content").value));
$("content").addEventListener("keydown", (event) => {
  if (event.key !== "Enter") return;
  event.preventDefault();
  scan($("content").value);
});
$("add").addEventListener("click", () => {
  $("newcomer-name").value = "";
  $("newcomer-error").textContent = "";
  $("newcomer").showModal();
});
async function addNewcomer() {
  try {
    const added = await call("followers", { app_id: accountId, user: $("newcomer-name").value });
    $("newcomer").close();
    platform = await call("state");
    await choose(added.openid, "chat");
  } catch (error) {
    $("newcomer-error").textContent = error.message;
  }
}
$("newcomer-add").addEventListener("click", addNewcomer);
$("newcomer-name").addEventListener("keydown", (event) => {
  if (event.key !== "Enter") return;
  event.preventDefault();
  addNewcomer();
});

async function watch() {
  let seen = null;
  for (;;) {
    try {
      platform = await call(seen === null ? "state" : `state?after=${seen}`);
      await draw();
      seen = platform.version;
    } catch (error) {
      $("dot").className = "dot bad";
      $("last").textContent = `沙箱没有应答：${error.message}`;
      await new Promise((resolve) => setTimeout(resolve, 2000));
      seen = null;
    }
    await new Promise((resolve) => setTimeout(resolve, POLL_PAUSE));
  }
}

watch();
