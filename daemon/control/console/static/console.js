// What a server cannot do: copy, dismiss, filter, and let times grow older.
'use strict'

const TOAST_SECONDS = 12

document.addEventListener('click', async (event) => {
  const copy = event.target.closest('[data-copy]')
  if (copy) await copied(copy)
  event.target.closest('[data-dismiss]')?.closest('[data-toast]')?.remove()
})

// a form whose button only looks disabled, so that it can keep the focus, must not be sent by Enter either
document.addEventListener('submit', (event) => {
  if (event.target.querySelector('[aria-disabled="true"]')) event.preventDefault()
}, true)

document.addEventListener('input', (event) => {
  if (event.target.id === 'filter') filterRows()
})

document.addEventListener('htmx:afterSwap', () => {
  filterRows()
  for (const toast of document.querySelectorAll('[data-toast]:not([data-timed])')) {
    toast.dataset.timed = ''
    if (!toast.classList.contains('bad')) setTimeout(() => toast.remove(), TOAST_SECONDS * 1000)
  }
})

setInterval(() => {
  for (const time of document.querySelectorAll('time[datetime]')) time.textContent = ago(new Date(time.dateTime))
}, 15_000)

async function copied (button) {
  const text = document.getElementById(button.dataset.copy).textContent
  const label = button.firstChild
  const before = label.textContent
  try {
    await navigator.clipboard.writeText(text)
    label.textContent = 'Copied'
  } catch {
    // without a secure context there is no clipboard; the text is selected instead
    getSelection().selectAllChildren(document.getElementById(button.dataset.copy))
    label.textContent = 'Press Ctrl+C'
  }
  setTimeout(() => { label.textContent = before }, 2000)
}

function filterRows () {
  const wanted = (document.getElementById('filter')?.value ?? '').toLowerCase().split(/\s+/)
  for (const row of document.querySelectorAll('#rows > tr')) {
    row.hidden = !wanted.every((word) => row.dataset.words.includes(word))
  }
}

// the same words as in texts.py
function ago (moment) {
  const seconds = Math.max(0, (Date.now() - moment) / 1000)
  if (seconds < 10) return 'just now'
  for (const [limit, size, name] of [[60, 1, 's'], [3600, 60, 'min'], [86400, 3600, 'h'], [Infinity, 86400, 'd']]) {
    if (seconds < limit) return `${Math.floor(seconds / size)} ${name} ago`
  }
}
