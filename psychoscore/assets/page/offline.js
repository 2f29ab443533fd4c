// A service worker: what the page has fetched once it has without a connection, too. With one, everything is asked
// after first, so that a page and its model are always of one version. What a server gives only to those who have its
// key, it tells nobody to keep.

const KEPT = "psychoscore-play";
const OURS = /^((index\.html)?$|page\/|piano\/|model\/)/; // Below the page; a server has more there

self.addEventListener("install", () => self.skipWaiting());
self.addEventListener("activate", event => event.waitUntil(self.clients.claim()));

async function answered(request) {
  let answer;
  try { answer = await fetch(request, { cache: "no-cache" }); }
  catch (error) {
    const kept = await (await caches.open(KEPT)).match(request, { ignoreSearch: true });
    if (kept) return kept;
    throw error;
  }
  if (answer.status === 200 && answer.headers.get("Cache-Control") !== "no-store") {
    const copy = answer.clone();
    caches.open(KEPT).then(cache => cache.put(request, copy)).catch(() => {}); // no room: then not without a connection
  }
  return answer;
}

self.addEventListener("fetch", event => {
  const { request } = event, { scope } = self.registration, [url] = request.url.split(/[?#]/);
  if (request.method === "GET" && url.startsWith(scope) && OURS.test(url.slice(scope.length))) event.respondWith(answered(request));
});
