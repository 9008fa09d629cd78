// Small helpers for the page.

export const $ = (id) => document.getElementById(id)

/** An element with properties, or attributes for names with a dash and role, and children. */
export function el(tag, properties = {}, ...children) {
  const node = document.createElement(tag)
  for (const [name, value] of Object.entries(properties)) {
    if (value === undefined) continue
    if (name.includes('-') || name === 'role') node.setAttribute(name, value)
    else node[name] = value
  }
  node.append(...children.filter((child) => child !== undefined))
  return node
}

/** A round mark for a name, in one of twelve colors. */
export function avatar(name, seed) {
  let hash = 0
  for (const c of seed) hash = (hash * 31 + c.codePointAt(0)) % 12
  const node = el('span', { className: `avatar color${hash}`, 'aria-hidden': 'true', dir: 'auto' })
  mark(node, name)
  return node
}

/** Puts the first letter of a name into its mark. */
export function mark(node, name) {
  node.textContent = [...name.trim()][0]?.toUpperCase() ?? ''
}

/**
 * Asks something in a dialog. Its body is made of nodes; done gets the form's
 * values, and whether the dialog closes depends on its not failing.
 */
export function ask(title, body, button, done) {
  const dialog = $('dialog')
  const form = dialog.querySelector('form')
  $('dialog-title').textContent = title
  $('dialog-body').replaceChildren(...body)
  $('dialog-problem').textContent = ''
  $('dialog-ok').hidden = !button
  $('dialog-ok').textContent = button ?? ''
  form.onsubmit = async (event) => {
    if (event.submitter?.value !== 'ok') return
    event.preventDefault()
    $('dialog-ok').disabled = true
    try {
      const close = await done(new FormData(form))
      if (close !== false) dialog.close()
    } catch (err) {
      $('dialog-problem').textContent = err.message
    } finally {
      $('dialog-ok').disabled = false
    }
  }
  $('dialog-close').onclick = () => dialog.close()
  dialog.onclose = () => $('dialog-body').replaceChildren()
  if (!dialog.open) dialog.showModal()
}

/** A labelled field of a dialog. */
export function field(label, name, properties = {}) {
  const { tag = 'input', options, ...rest } = properties
  const id = `field-${name}`
  const input = el(tag, { id, name, ...rest })
  for (const [value, text] of Object.entries(options ?? {})) input.append(el('option', { value }, text))
  return el('p', {}, el('label', { htmlFor: id }, label), input)
}

export function checkbox(label, name, value = 'on', checked = false) {
  return el('label', { className: 'check' }, el('input', { type: 'checkbox', name, value, checked }), label)
}

const time = new Intl.DateTimeFormat(undefined, { hour: 'numeric', minute: '2-digit' })
const date = new Intl.DateTimeFormat(undefined, { weekday: 'long', month: 'long', day: 'numeric' })
export const timeOf = (sent) => time.format(new Date(sent))
export const dateOf = (sent) => date.format(new Date(sent))
