// A service worker: what the page has fetched once it has without a connection, too. With one, everything is asked
// after first, so that a page and its model are always of one version.

const KEPT = "psychoscore-play";

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
  if (answer.status === 200) {
    const copy = answer.clone();
    caches.open(KEPT).then(cache => cache.put(request, copy)).catch(() => {}); // no room: then not without a connection
  }
  return answer;
}

self.addEventListener("fetch", event => {
  const { request } = event;
  if (request.method === "GET" && request.url.startsWith(self.registration.scope)) event.respondWith(answered(request));
});
